# A throw-away cluster with pgbench's tables, once shared by tenants and once in a database of its own, and
# Tenantry in front of it: `start $profile`. Then $port serves the tenants a (shared) and b (its own
# database), and $proxy is the process. `prepare $profile` leaves Tenantry to `serve`.

start() { # profile
    prepare "$1"
    serve
}

prepare() { # profile
    tenantry=$(bin/build "$1")
    folder=$(mktemp -d)
    secret() { head -c 18 /dev/urandom | base64; }
    . demo/cluster.sh
    proxy=
    stop() {
        [ -z "$proxy" ] || kill "$proxy" 2>/dev/null || true
        stop_cluster
        rm -rf "$folder"
    }
    trap stop EXIT
    start_cluster
    pgbench=$programs/pgbench
    export PGPASSWORD=long
    direct postgres -c "CREATE ROLE app LOGIN PASSWORD 'long'" -c "CREATE DATABASE shared" \
        -c "CREATE DATABASE own OWNER app"
    for database in shared own; do
        "$pgbench" -q -i -s 5 -h "$cluster" -p "$cluster_port" -U postgres "$database" >/dev/null 2>&1
        direct "$database" -c "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app"
    done
    for table in accounts:aid branches:bid tellers:tid; do
        name=pgbench_${table%:*} key=${table#*:}
        direct shared -c "ALTER TABLE $name ADD tenant_id integer NOT NULL DEFAULT 1" \
            -c "ALTER TABLE $name DROP CONSTRAINT ${name}_pkey, ADD PRIMARY KEY (tenant_id, $key)" \
            -c "ALTER TABLE $name ALTER tenant_id DROP DEFAULT"
    done
    direct shared -c "INSERT INTO pgbench_accounts SELECT aid, bid, abalance, filler, 2 FROM pgbench_accounts" \
        -c "ANALYZE"
    port=$(free_port)
    mkdir -p "$folder/config/tenants"
    cat >"$folder/config/tenantry.toml" <<TOML
[listen]
address = ["127.0.0.1:$port"]
[pool]
size = 20
[[upstream]]
name = "main"
address = "127.0.0.1:$cluster_port"
database = "shared"
user = "app"
password = { env = "PGPASSWORD" }
tls = "off"
max_connections = 60
[[login]]
name = "legacy"
password = { env = "PGPASSWORD" }
tenants = "*"
TOML
    printf '[defaults]\ntenant_column = "tenant_id"\nunlisted = "by-column"\n' >"$folder/config/policy.toml"
    printf 'isolation = "shared"\nupstream = "main"\n' >"$folder/config/tenants/_common.toml"
    printf 'key = 1\n' >"$folder/config/tenants/a.toml"
    printf 'isolation = "database"\ndatabase = "own"\nuser = "app"\npassword = { env = "PGPASSWORD" }\n' \
        >"$folder/config/tenants/b.toml"
}

serve() {
    "$tenantry" serve --config "$folder/config" >>"$folder/proxy.log" 2>&1 &
    proxy=$!
    for _ in $(seq 100); do is_free "$port" || break; sleep 0.1; done
}

ticks=$(getconf CLK_TCK)
cpu_us() { awk -v ticks="$ticks" '{ print int(($14 + $15) * 1000000 / ticks) }' "/proc/$proxy/stat"; }
rss_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$proxy/status"; }
