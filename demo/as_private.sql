-- Makes this session see what a private database of one tenant would hold: for each table with the
-- tenant's column a temporary view without it, which stands before the table on the search_path.
-- It is how the tour knows the right answers without the proxy. Variable: tenant.
SELECT format(
  'CREATE TEMPORARY VIEW %I AS SELECT %s FROM public.%I WHERE tenant_id = %s', c.relname,
  (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> 'tenant_id'),
  c.relname, :tenant)
FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id'
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
\gexec
