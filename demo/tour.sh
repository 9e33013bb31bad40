# Plays the steps of tour.txt. What each should show is asked from a direct connection while the
# tour runs; no answer is stored. After each step the rows of the other tenants must be as before.

failures=0

fail() {
    failures=$((failures + 1))
    printf '%s\n' "!! $*" | sed 's/^/    /'
}

# How a tenant's data are found without Tenantry: its database, and its value in the tenant column.
database_of() { [ "$1" = initech ] && echo initech || echo shop; }
key_of() { case $1 in acme) echo 1 ;; globex) echo 2 ;; *) echo 0 ;; esac; }

private() { # tenant, statement: what a private database of the tenant would answer
    direct "$(database_of "$1")" -v tenant="$(key_of "$1")" -f demo/as_private.sql -c "$2"
}

others() { # tenant: checksums of all rows that are not its own
    if [ "$1" = initech ]; then
        direct shop -At -v tenant=0 -f demo/checksum.sql
    else
        direct shop -At -v tenant="$(key_of "$1")" -f demo/checksum.sql
        direct initech -At -v tenant=0 -f demo/checksum.sql
    fi
}

indented() { sed 's/^/    /' "$1"; }

step() { # check, tenant, what to see, statement, statement to compare with
    local check=$1 tenant=$2 see=$3 run=$4 compare=${5:-$4} before
    number=$((number + 1))
    printf '\n%d. %s\n    %s=> %s;\n' "$number" "$see" "$tenant" "$run"
    before=$(others "$tenant")
    case $check in
    same) check_same ;;
    error) check_error ;;
    refused*) check_refused "${check#refused }" ;;
    rewrite) check_rewrite ;;
    across) check_across ;;
    *) fail "unknown check: $check" ;;
    esac
    [ "$before" = "$(others "$tenant")" ] || fail "the rows of another tenant have changed"
}

# What `tenantry rewrite` says will be sent is kept, to be compared with the server's own log.
foretell() {
    sent=$((sent + 1))
    "$tenantry" rewrite --config "$folder/config" --tenant "$tenant" "$run" >"$folder/both" 2>&1 ||
        fail "it is refused"
    sed "1,/^-- tenant $tenant\$/d" "$folder/both" >>"$folder/foretold"
}

check_same() {
    [ "$tenant" = initech ] || foretell
    proxied "$tenant" -c "$run" >"$folder/got" 2>&1 || true
    private "$tenant" "$compare" >"$folder/want"
    indented "$folder/got"
    # The command tag of a change has no counterpart in the query that it is compared with.
    grep -vE '^(INSERT|UPDATE|DELETE) [0-9 ]+$' "$folder/got" | cmp -s - "$folder/want" ||
        fail "a private database would answer:"$'\n'"$(cat "$folder/want")"
}

check_error() {
    proxied "$tenant" -v VERBOSITY=sqlstate -c "$run" >"$folder/state" 2>&1 || true
    private "$tenant" "$run" >/dev/null 2>"$folder/want" || true
    proxied "$tenant" -c "$run" >"$folder/got" 2>&1 || true
    indented "$folder/got"
    local message
    message=$(grep -m 1 -o 'ERROR: .*' "$folder/want" || true)
    [ -n "$message" ] || fail "a private database would not refuse it"
    grep -qF -- "$message" "$folder/got" || fail "a private database would say: $message"
}

check_refused() { # SQLSTATE
    proxied "$tenant" -v VERBOSITY=sqlstate -c "$run" >"$folder/state" 2>&1 || true
    proxied "$tenant" -c "$run" >"$folder/got" 2>&1 || true
    indented "$folder/got"
    grep -q "ERROR:  $1" "$folder/state" || fail "it should be refused with $1"
    direct "$(database_of "$tenant")" -c "$run" >/dev/null || fail "PostgreSQL itself refuses it"
}

check_rewrite() {
    foretell
    indented "$folder/both"
    local rewritten
    rewritten=$(sed "1,/^-- tenant $tenant\$/d" "$folder/both")
    private "$tenant" "$run" >"$folder/want"
    direct "$(database_of "$tenant")" -c "$rewritten" >"$folder/got" || fail "it does not run"
    indented "$folder/got"
    cmp -s "$folder/got" "$folder/want" || fail "a private database would answer differently"
    proxied "$tenant" -c "$run" | cmp -s - "$folder/want" || fail "Tenantry answers differently"
}

# An operator: nothing without a grant, the grant's tenants with it, and the log says so.
check_across() {
    operator -c "$run" >"$folder/got" 2>&1 || true
    indented "$folder/got"
    grep -q 'ERROR: .*without a grant' "$folder/got" || fail "it should be refused without a grant"
    operator -c "SET tenantry.bypass = 'tour'" -c "$run" >"$folder/got" 2>&1 || true
    indented "$folder/got"
    direct shop -c "$compare" >"$folder/want"
    tail -n "$(wc -l <"$folder/want")" "$folder/got" | cmp -s - "$folder/want" ||
        fail "the tables say:"$'\n'"$(cat "$folder/want")"
    "$tenantry" audit verify --config "$folder/config" >"$folder/got" || fail "the log is not whole"
    "$tenantry" audit show --config "$folder/config" --grant tour >"$folder/got"
    indented "$folder/got"
    grep -qF -- "$run" "$folder/got" || fail "the audit log does not show the statement"
}

# Every statement of Tenantry's role that names a table with the tenant's column must hold the
# tenant's predicate, or give the column its value, once for each time that it names one. Prints
# those that do not; leaves all that name one in $folder/named.
without_tenant() {
    local tables line names marks
    tables=$(direct shop -At -c "SELECT string_agg(relname, '|') FROM pg_class JOIN pg_attribute
        ON attrelid = pg_class.oid WHERE attname = 'tenant_id' AND relkind = 'r'")
    # Continuation lines of the log begin with a tab: one statement on one line.
    sed -e ':a' -e 'N' -e '$!ba' -e 's/\n\t/ /g' "$cluster/server.log" |
        grep -E '^shop_app@shop\|LOG: +(statement|execute [^:]*):' |
        grep -wE "$tables" >"$folder/named" || true
    while IFS= read -r line; do
        names=$(grep -oE "public\.($tables)\b" <<<"$line" | wc -l)
        marks=$(grep -oE "$predicate|$value" <<<"$line" | wc -l)
        [ "$marks" -gt 0 ] && [ "$marks" -ge "$names" ] || printf '%s\n' "$line"
    done <"$folder/named"
}
predicate="tenant_id OPERATOR\(pg_catalog\.=\) (ANY *\(+)?('[0-9]+'|'\{[0-9,]+\}'|\\\$[0-9]+)::pg_catalog\.int4"
value='INSERT INTO public\.\w+ *(AS \w+ *)?\([^)]*\btenant_id\)'

search_log() {
    printf '\nThe server'\''s own log: does any statement name a tenant table without the tenant?\n'
    local found seen
    found=$(without_tenant)
    seen=$(wc -l <"$folder/named")
    printf '    %s statements name one; without the tenant'\''s predicate or value: %s\n' "$seen" \
        "$(printf '%s' "$found" | grep -c . || true)"
    [ -z "$found" ] || fail "$found"
    sed -n 's/^shop_app@shop|LOG:  statement: //p' "$cluster/server.log" >"$folder/logged"
    local text as_foretold=0
    while IFS= read -r text; do
        if grep -qxF -- "$text" "$folder/logged"; then
            as_foretold=$((as_foretold + 1))
        else
            fail "tenantry rewrite foretold, but the server was not sent: $text"
        fi
    done <"$folder/foretold"
    printf '    %s statements are, byte for byte, what tenantry rewrite says is sent\n' "$as_foretold"
    [ "$as_foretold" -eq "$sent" ] || fail "$sent statements were foretold"
    [ "$seen" -ge "$sent" ] || fail "the log shows fewer statements than the $sent that were sent"
    # The search must find one that is made to be found.
    PGPASSWORD=$TENANTRY_DEMO_SHOP_PASSWORD psql -X -q -h 127.0.0.1 -p "$cluster_port" -U shop_app \
        -d shop -c 'SELECT count(*) FROM orders' >/dev/null
    [ "$(without_tenant | grep -c 'count(\*) FROM orders')" -gt 0 ] ||
        fail "the search does not find what it should"
}

tour() { # file
    local line key text check= as= see= run= compare=
    number=0 sent=0
    while IFS= read -r line <&4 || [ -n "$line" ]; do
        key=${line%% *} text=${line#* }
        case $key in
        '') ;;
        '#'*) continue ;;
        check | as | see | run | compare) printf -v "$key" '%s' "$text" && continue ;;
        *) fail "tour.txt: $line" ;;
        esac
        [ -z "$check" ] || step "$check" "$as" "$see" "$run" "$compare"
        check='' compare=''
    done 4< <(cat "$1"; echo)
    search_log
    if [ "$failures" -gt 0 ]; then
        printf '\n%d things are not what they should be.\n' "$failures"
        exit 1
    fi
    printf '\nAll %d steps show what they should.\n' "$number"
}
