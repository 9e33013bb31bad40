CREATE TABLE notes (id integer PRIMARY KEY, body text NOT NULL);
CREATE SEQUENCE numbers;
CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL);
INSERT INTO items VALUES (1, 'OWN-1'), (2, 'OWN-2'), (3, 'OWN-3');
CREATE TABLE parts (item text);
