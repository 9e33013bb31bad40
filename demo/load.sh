# Makes the roles and the databases of the demo. The caller offers direct(): a superuser's psql.

load_shops() {
    direct postgres -v shop_password="$TENANTRY_DEMO_SHOP_PASSWORD" \
        -v initech_password="$TENANTRY_DEMO_INITECH_PASSWORD" -f demo/roles.sql
    direct postgres -c 'CREATE DATABASE shop' -c 'CREATE DATABASE initech'
    direct shop -f demo/legacy.sql -f demo/add_tenant_id.sql
    direct shop -v tenant=1 -v seed="$seed" -v orders=60 -v prefix=Acme -f demo/shared_data.sql
    direct shop -v tenant=2 -v seed="$seed" -v orders=45 -v prefix=Globex -f demo/shared_data.sql
    direct shop -v role=shop_app -f demo/grants.sql
    direct initech -f demo/legacy.sql
    direct initech -v seed="$seed" -v orders=30 -v prefix=Initech -f demo/data.sql
    direct initech -v role=initech_rw -f demo/grants.sql
}
