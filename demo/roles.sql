-- The roles that Tenantry connects with: no superuser, no owner, no more than the application needs.
-- Variables: shop_password, initech_password.
CREATE ROLE shop_app LOGIN PASSWORD :'shop_password';
CREATE ROLE initech_rw LOGIN PASSWORD :'initech_password';
-- The server writes down what Tenantry sends to the shared tables, for the search at the tour's end.
ALTER ROLE shop_app SET log_statement TO 'all';
