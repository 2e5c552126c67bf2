CREATE TABLE customer (id bigint PRIMARY KEY, name text NOT NULL, joined date, referrer_id bigint REFERENCES customer);
CREATE TABLE product (id bigint PRIMARY KEY, name text NOT NULL, price numeric(10, 2));
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customer, placed timestamptz);
CREATE TABLE item (
    order_id bigint NOT NULL REFERENCES orders, line int, product_id bigint NOT NULL REFERENCES product,
    PRIMARY KEY (line, order_id)
);
CREATE TABLE shipment (id bigint PRIMARY KEY, customer_id bigint NOT NULL, note text);
CREATE TABLE audit_log (what text);

INSERT INTO customer SELECT n, 'customer ' || n, '2026-01-01'::date + n, nullif(n / 2, 0) FROM generate_series(1, 100) n;
INSERT INTO product SELECT n, 'product ' || n, n * 1.5 FROM generate_series(1, 50) n;
INSERT INTO orders SELECT n, n % 100 + 1, '2026-01-01'::timestamptz + n * interval '1 hour' FROM generate_series(1, 4000) n;
INSERT INTO item SELECT n % 4000 + 1, n / 4000, n % 40 + 1 FROM generate_series(1, 12000) n;
INSERT INTO shipment SELECT n, n % 100 + 1, 'by road' FROM generate_series(1, 300) n;
INSERT INTO audit_log SELECT 'something' FROM generate_series(1, 20);
ANALYZE;
