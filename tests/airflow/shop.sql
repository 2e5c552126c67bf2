-- A small shop with what shapes a DAG: a cycle, a self-reference, a diamond, a lookup, a table without a primary key.
CREATE TABLE department (id int PRIMARY KEY, name text NOT NULL, boss_id int);
CREATE TABLE employee (
    id int PRIMARY KEY, department_id int NOT NULL REFERENCES department, manager_id int REFERENCES employee
);
ALTER TABLE department ADD FOREIGN KEY (boss_id) REFERENCES employee;
CREATE TABLE currency (code char(3) PRIMARY KEY);
CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL, agent_id int REFERENCES employee);
CREATE TABLE "Order" (
    id serial PRIMARY KEY, customer_id int NOT NULL REFERENCES customer, currency char(3) NOT NULL REFERENCES currency
);
CREATE TABLE payment (
    id int PRIMARY KEY, order_id int NOT NULL REFERENCES "Order", customer_id int NOT NULL REFERENCES customer,
    amount numeric NOT NULL
);
CREATE TABLE visit (customer_id int REFERENCES customer, page text);

INSERT INTO department SELECT n, 'department ' || n FROM generate_series(1, 3) n;
INSERT INTO employee SELECT n, n % 3 + 1, NULLIF(n / 3, 0) FROM generate_series(1, 30) n;
UPDATE department SET boss_id = id;
INSERT INTO currency VALUES ('EUR'), ('NZD'), ('USD');
INSERT INTO customer SELECT n, 'customer ' || n, n % 30 + 1 FROM generate_series(1, 100) n;
INSERT INTO "Order" (customer_id, currency)
    SELECT n % 100 + 1, (ARRAY['EUR', 'NZD'])[n % 2 + 1] FROM generate_series(1, 500) n;
INSERT INTO payment SELECT id, id, customer_id, id * 1.5 FROM "Order" WHERE id % 2 = 0;
INSERT INTO visit SELECT n % 100 + 1, 'page ' || n FROM generate_series(1, 1000) n;
ANALYZE;
