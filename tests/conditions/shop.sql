-- Behind demo/legacy.sql and demo/add_tenant_id.sql: the indexes that a shop of some size has, each with the tenant
-- column in front, and rows of four tenants.
CREATE EXTENSION pg_trgm;
CREATE EXTENSION btree_gin;
ALTER TABLE orders ADD COLUMN external_id uuid, ADD COLUMN tags text[] NOT NULL DEFAULT '{}', ADD COLUMN deleted_at timestamptz,
  ADD COLUMN open_during tstzrange, ADD COLUMN is_gift boolean NOT NULL DEFAULT false, ADD COLUMN weight double precision;
ALTER TABLE customers ADD COLUMN phone varchar(40), ADD COLUMN born date, ADD COLUMN parent_id integer;

INSERT INTO countries SELECT chr(65 + n / 26) || chr(65 + n % 26), 'country ' || n FROM generate_series(0, 60) n;
INSERT INTO customers (tenant_id, id, name, email, country, preferences, created_at, phone, born, parent_id)
  SELECT t, n, 'name ' || (n * 7919 % 5000), 'c' || n || '@' || t || '.example', chr(65 + n % 2) || chr(65 + n % 26),
    jsonb_build_object('lang', 'l' || n % 40, 'n', n), timestamptz '2025-01-01 UTC' + n * interval '1 hour', '+49' || n,
    date '1960-01-01' + n, nullif(n / 10, 0)
  FROM generate_series(1, 4) t, generate_series(1, 5000) n;
INSERT INTO products (tenant_id, id, sku, title, price, attributes)
  SELECT t, n, 'SKU-' || n, 'title ' || n, n % 900 + 0.5, jsonb_build_object('size', n % 300)
  FROM generate_series(1, 4) t, generate_series(1, 5000) n;
INSERT INTO orders (tenant_id, id, customer_id, status, total, note, placed_at, external_id, tags, deleted_at, open_during, is_gift, weight)
  SELECT t, n, 1 + n * 31 % 5000, (enum_range(NULL::order_status))[CASE WHEN n % 97 = 0 THEN 1 ELSE 2 + n % 3 END], n % 5000,
    CASE WHEN n % 50 = 0 THEN 'note ' || n END, timestamptz '2025-01-01 UTC' + n * interval '20 minutes',
    ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, ARRAY['t' || n % 700], CASE WHEN n % 100 <> 0 THEN now() END,
    tstzrange(timestamptz '2025-01-01 UTC' + n * interval '20 minutes', timestamptz '2025-01-02 UTC' + n * interval '20 minutes'),
    n % 200 = 0, n
  FROM generate_series(1, 4) t, generate_series(1, 20000) n;
INSERT INTO order_lines (tenant_id, order_id, line_number, product_id, quantity, unit_price)
  SELECT t, n, l, 1 + n * 17 % 5000, 1 + n % 5, n % 90 FROM generate_series(1, 4) t, generate_series(1, 20000) n, generate_series(1, 2) l;
INSERT INTO payments (tenant_id, id, order_id, amount, paid_at)
  SELECT t, n, n, n % 300, timestamptz '2025-02-01 UTC' + n * interval '30 minutes' FROM generate_series(1, 4) t, generate_series(1, 10000) n;
INSERT INTO reviews (tenant_id, id, product_id, stars, body)
  SELECT t, n, 1 + n % 5000, 1 + n % 5, 'body ' || n FROM generate_series(1, 4) t, generate_series(1, 10000) n;
INSERT INTO jobs (tenant_id, id, kind, payload, run_at, attempts)
  SELECT t, n, 'kind ' || n % 30, jsonb_build_object('order', n), timestamptz '2025-01-01 UTC' + n * interval '1 minute', n % 5
  FROM generate_series(1, 4) t, generate_series(1, 10000) n;
INSERT INTO settings (tenant_id, key, value) SELECT t, 'key ' || n, to_jsonb(n) FROM generate_series(1, 4) t, generate_series(1, 3000) n;

CREATE INDEX customers_name ON customers (tenant_id, name text_pattern_ops);
CREATE INDEX customers_lower ON customers (tenant_id, lower(email));
CREATE INDEX customers_trgm ON customers USING gin (tenant_id, name gin_trgm_ops);
CREATE INDEX customers_country ON customers (tenant_id, country, created_at);
CREATE INDEX customers_born ON customers (tenant_id, born);
CREATE INDEX customers_phone ON customers (tenant_id, phone);
CREATE INDEX customers_parent ON customers (tenant_id, parent_id);
CREATE INDEX customers_preferences ON customers USING gin (preferences);
CREATE INDEX customers_lang ON customers (tenant_id, (preferences ->> 'lang'));
CREATE INDEX orders_customer ON orders (tenant_id, customer_id, placed_at);
CREATE INDEX orders_placed ON orders (tenant_id, placed_at);
CREATE INDEX orders_day ON orders (tenant_id, date_trunc('day', placed_at AT TIME ZONE 'UTC'));
CREATE INDEX orders_status ON orders (tenant_id, status, placed_at);
CREATE INDEX orders_total ON orders (tenant_id, total);
CREATE INDEX orders_weight ON orders (tenant_id, weight);
CREATE INDEX orders_external ON orders (tenant_id, external_id);
CREATE INDEX orders_tags ON orders USING gin (tags);
CREATE INDEX orders_live ON orders (tenant_id, placed_at) WHERE deleted_at IS NULL;
CREATE INDEX orders_gift ON orders (tenant_id, id) WHERE is_gift;
CREATE INDEX orders_note ON orders (tenant_id, note);
CREATE INDEX orders_open ON orders USING gist (open_during);
CREATE INDEX lines_product ON order_lines (tenant_id, product_id);
CREATE INDEX payments_order ON payments (tenant_id, order_id);
CREATE INDEX payments_paid ON payments (tenant_id, paid_at);
CREATE INDEX products_price ON products (tenant_id, price);
CREATE INDEX products_attributes ON products USING gin (attributes jsonb_path_ops);
CREATE INDEX reviews_product ON reviews (tenant_id, product_id, stars);
CREATE INDEX jobs_run ON jobs (tenant_id, run_at);
CREATE INDEX jobs_kind ON jobs (tenant_id, kind, run_at);
VACUUM ANALYZE;
