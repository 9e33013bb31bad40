CREATE TYPE mood AS ENUM ('low', 'high');
CREATE TABLE items (
    tenant_id integer NOT NULL,
    id integer NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT items_name_key UNIQUE (name, tenant_id)
);
CREATE TABLE parts (
    tenant_id integer NOT NULL,
    item integer NOT NULL,
    CONSTRAINT parts_item_fk FOREIGN KEY (tenant_id, item) REFERENCES items (tenant_id, id)
);
INSERT INTO items VALUES (1, 1, 'CANARY-T1'), (2, 1, 'CANARY-T2'), (2, 2, 'CANARY-T2-2'), (3, 1, 'CANARY-T3');
