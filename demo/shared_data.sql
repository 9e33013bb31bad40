-- Loads demo/data.sql for one of the tenants that share the tables.
-- Variables: tenant, and those of data.sql.
SELECT format('ALTER TABLE %I ALTER COLUMN tenant_id SET DEFAULT %s', relname, :tenant)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id'
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
\gexec
\ir data.sql
SELECT format('ALTER TABLE %I ALTER COLUMN tenant_id DROP DEFAULT', relname)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id'
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
\gexec
