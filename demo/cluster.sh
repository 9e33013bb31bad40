# A PostgreSQL cluster of our own in $folder: never run by root, reached by a superuser through its
# Unix socket only. A cluster that the package manager started is neither used nor stopped.

cluster_port=
as_owner=()

newest_programs() {
    if [ -n "${PGBIN:-}" ]; then
        echo "$PGBIN"
    else
        printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1
    fi
}

is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 20000))
        is_free $port && echo $port && return
    done
}

start_cluster() {
    programs=$(newest_programs)
    cluster=$folder/cluster
    mkdir "$cluster"
    chmod 755 "$folder"
    if [ "$(id -u)" -eq 0 ]; then
        local owner=nobody
        id postgres >/dev/null 2>&1 && owner=postgres
        chown "$owner" "$cluster"
        as_owner=(setpriv --reuid "$owner" --regid "$(id -g "$owner")" --clear-groups)
    fi
    (
        cd "$cluster"
        secret >password
        chmod 644 password
        "${as_owner[@]}" "$programs/initdb" -D data -U postgres --auth-local=trust \
            --auth-host=scram-sha-256 --pwfile=password -E UTF8 --locale=C.UTF-8 --no-sync >initdb.log
        rm password
    )
    cluster_port=$(free_port)
    local options="-p $cluster_port -k $cluster -c listen_addresses=127.0.0.1 -c fsync=off"
    options+=" -c lc_messages=C -c log_line_prefix='%u@%d|'"
    "${as_owner[@]}" "$programs/pg_ctl" -s -w -D "$cluster/data" -l "$cluster/server.log" \
        -o "$options" start </dev/null
}

stop_cluster() {
    [ -f "${cluster:-/nonexistent}/data/postmaster.pid" ] || return 0
    "${as_owner[@]}" "$programs/pg_ctl" -s -D "$cluster/data" -m immediate stop
}

direct() { # database, arguments of psql: a superuser's connection that Tenantry has no part in
    local database=$1
    shift
    "$programs/psql" -X -q -v ON_ERROR_STOP=1 -h "$cluster" -p "$cluster_port" -U postgres \
        -d "$database" "$@" >"$folder/direct.out" 2>"$folder/direct.err" || {
        cat "$folder/direct.err" >&2
        return 1
    }
    cat "$folder/direct.out"
}
