-- Two tables whose tenant columns differ in type, and one that nothing classifies.
CREATE TABLE notes (tenant_id integer NOT NULL, id integer, body text);
CREATE TABLE ratings (tenant_id smallint NOT NULL, stars integer);
CREATE TABLE plain (id integer);
