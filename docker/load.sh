#!/bin/bash
# Runs in the PostgreSQL image when its data directory is made: loads the demo's shops.
set -euo pipefail
cd /
direct() {
    local database=$1
    shift
    psql -X -q -v ON_ERROR_STOP=1 -U postgres -d "$database" "$@"
}
seed=0.5
source demo/load.sh
load_shops
