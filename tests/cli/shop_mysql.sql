CREATE TABLE customer (
    id bigint PRIMARY KEY, name varchar(60) NOT NULL, joined date, referrer_id bigint,
    FOREIGN KEY (referrer_id) REFERENCES customer (id)
);
CREATE TABLE product (id bigint PRIMARY KEY, name varchar(60) NOT NULL, price numeric(10, 2), about json);
CREATE TABLE orders (
    id bigint PRIMARY KEY, customer_id bigint NOT NULL, placed timestamp NULL,
    FOREIGN KEY (customer_id) REFERENCES customer (id)
);
CREATE TABLE item (
    order_id bigint NOT NULL, line int, product_id bigint NOT NULL, PRIMARY KEY (line, order_id),
    FOREIGN KEY (order_id) REFERENCES orders (id), FOREIGN KEY (product_id) REFERENCES product (id)
);
CREATE TABLE shipment (id bigint PRIMARY KEY, customer_id bigint NOT NULL, note varchar(60));
CREATE TABLE parcel (id bigint PRIMARY KEY, order_no bigint NOT NULL);
CREATE TABLE audit_log (what varchar(60));

CREATE TABLE numbers (n int PRIMARY KEY);
INSERT INTO numbers
WITH RECURSIVE upto (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM upto WHERE i < 199)
SELECT 1 + tall.i * 200 + wide.i AS n FROM upto AS tall CROSS JOIN upto AS wide WHERE tall.i < 60;
INSERT INTO customer SELECT n, concat('customer ', n), '2026-01-01' + INTERVAL n DAY, nullif(n DIV 2, 0)
FROM numbers WHERE n <= 100 ORDER BY n;
INSERT INTO product SELECT n, concat('product ', n), n * 1.5, NULL FROM numbers WHERE n <= 50;
INSERT INTO orders SELECT n, n % 100 + 1, '2026-01-01' + INTERVAL n HOUR FROM numbers WHERE n <= 4000;
INSERT INTO item SELECT n % 4000 + 1, n DIV 4000, n % 40 + 1 FROM numbers WHERE n <= 12000;
INSERT INTO shipment SELECT n, n % 100 + 1, 'by road' FROM numbers WHERE n <= 300;
INSERT INTO parcel SELECT n, n % 4000 + 1 FROM numbers WHERE n <= 12000;
INSERT INTO audit_log SELECT 'something' FROM numbers WHERE n <= 20;
DROP TABLE numbers;
ANALYZE TABLE customer, product, orders, item, shipment, parcel, audit_log;
