-- What the operator does once, to serve many customers from the tables of one: each table gets the
-- tenant's column, and each key and reference begins with it. The application is not changed.
SELECT format('ALTER TABLE %I ADD COLUMN tenant_id integer NOT NULL', relname)
FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'countries'
ORDER BY relname
\gexec

ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey;
ALTER TABLE order_lines DROP CONSTRAINT order_lines_order_fkey,
  DROP CONSTRAINT order_lines_product_fkey;
ALTER TABLE payments DROP CONSTRAINT payments_order_fkey;
ALTER TABLE reviews DROP CONSTRAINT reviews_product_fkey;

ALTER TABLE customers DROP CONSTRAINT customers_pkey, ADD PRIMARY KEY (tenant_id, id),
  DROP CONSTRAINT customers_email_key, ADD UNIQUE (tenant_id, email);
ALTER TABLE products DROP CONSTRAINT products_pkey, ADD PRIMARY KEY (tenant_id, id),
  DROP CONSTRAINT products_sku_key, ADD UNIQUE (tenant_id, sku);
ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (tenant_id, id);
ALTER TABLE order_lines DROP CONSTRAINT order_lines_pkey,
  ADD PRIMARY KEY (tenant_id, order_id, line_number);
ALTER TABLE payments DROP CONSTRAINT payments_pkey, ADD PRIMARY KEY (tenant_id, id);
ALTER TABLE reviews DROP CONSTRAINT reviews_pkey, ADD PRIMARY KEY (tenant_id, id);
ALTER TABLE jobs DROP CONSTRAINT jobs_pkey, ADD PRIMARY KEY (tenant_id, id);
ALTER TABLE settings DROP CONSTRAINT settings_pkey, ADD PRIMARY KEY (tenant_id, key);

ALTER TABLE orders ADD FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id);
ALTER TABLE order_lines
  ADD FOREIGN KEY (tenant_id, order_id) REFERENCES orders (tenant_id, id) ON DELETE CASCADE,
  ADD FOREIGN KEY (tenant_id, product_id) REFERENCES products (tenant_id, id);
ALTER TABLE payments ADD FOREIGN KEY (tenant_id, order_id) REFERENCES orders (tenant_id, id);
ALTER TABLE reviews ADD FOREIGN KEY (tenant_id, product_id) REFERENCES products (tenant_id, id);
