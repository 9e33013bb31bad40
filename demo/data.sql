-- One customer's data, in the words of the legacy application: no tenant is named. Where the tables
-- have the tenant's column, its default names the tenant while the data are loaded.
-- Variables: seed (from -1 to 1), orders (how many), prefix (of what people may read).
-- Each tenant has data of its own.
SELECT setseed(:seed * :orders / 100.0) \g /dev/null

INSERT INTO countries VALUES ('DE', 'Germany'), ('FR', 'France'), ('US', 'United States')
ON CONFLICT DO NOTHING;

INSERT INTO customers (id, name, email, country, preferences, created_at)
SELECT n, :'prefix' || ' customer ' || n, 'c' || n || '@' || lower(:'prefix') || '.example',
  (ARRAY['DE', 'FR', 'US'])[1 + floor(random() * 3)::integer],
  jsonb_build_object('newsletter', random() < 0.5),
  '2026-01-01T00:00:00Z'::timestamptz + random() * interval '90 days'
FROM generate_series(1, 12) AS n;

INSERT INTO products (id, sku, title, price, attributes)
SELECT n, 'SKU-' || n, :'prefix' || ' product ' || n, round((5 + random() * 95)::numeric, 2),
  jsonb_build_object('weight_g', 100 + floor(random() * 900)::integer)
FROM generate_series(1, 20) AS n;

INSERT INTO orders (id, customer_id, status, total, note, placed_at)
SELECT n, 1 + floor(random() * 12)::integer,
  (ARRAY['new', 'paid', 'shipped', 'cancelled']::order_status[])[1 + floor(random() * 4)::integer],
  round((10 + random() * 300)::numeric, 2),
  CASE WHEN random() < 0.3 THEN :'prefix' || ' only: call first' END,
  '2026-04-01T00:00:00Z'::timestamptz + n * interval '7 hours'
FROM generate_series(1, :orders) AS n;

INSERT INTO order_lines (order_id, line_number, product_id, quantity, unit_price)
SELECT o, l, 1 + floor(random() * 20)::integer, 1 + floor(random() * 5)::integer,
  round((5 + random() * 95)::numeric, 2)
FROM generate_series(1, :orders) AS o, generate_series(1, 3) AS l;

INSERT INTO payments (id, order_id, amount, paid_at)
SELECT n, n, round((10 + random() * 300)::numeric, 2),
  '2026-05-01T00:00:00Z'::timestamptz + n * interval '5 hours'
FROM generate_series(1, :orders / 2) AS n;

INSERT INTO reviews (id, product_id, stars, body)
SELECT n, 1 + floor(random() * 20)::integer, 1 + floor(random() * 5)::integer,
  :'prefix' || ' review ' || n
FROM generate_series(1, 15) AS n;

INSERT INTO jobs (id, kind, payload, run_at)
SELECT n, (ARRAY['mail', 'invoice', 'sync'])[1 + floor(random() * 3)::integer],
  jsonb_build_object('order', n), '2026-06-01T00:00:00Z'::timestamptz + n * interval '1 minute'
FROM generate_series(1, 8) AS n;

INSERT INTO settings VALUES ('shop', jsonb_build_object('name', :'prefix'));

-- Sequences go on behind the data of every tenant.
SELECT setval(c.oid, 1000) FROM pg_class c
WHERE c.relkind = 'S' AND c.relnamespace = 'public'::regnamespace \g /dev/null
