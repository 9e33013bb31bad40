-- One line for each table: a checksum of the rows that are not this tenant's. Variable: tenant
-- (0: of all rows; a table without the tenant's column counts whole).
SELECT format(
  'SELECT %L, count(*), md5(string_agg(t::text, E''\n'' ORDER BY t::text)) FROM public.%I t WHERE %s',
  c.relname, c.relname,
  CASE WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')
    THEN format('tenant_id <> %s', :tenant) ELSE 'true' END)
FROM pg_class c
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY c.relname
\gexec
