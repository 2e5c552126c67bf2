-- The demo database on MySQL 8 and MariaDB 10.6 or later: the same tables and the same rows as on
-- PostgreSQL, with what these servers have in place of what they have not.
--
--   timestamptz -> timestamp (stored in UTC), enum type -> enum column, jsonb -> json,
--   identity and serial -> auto_increment, a free-standing sequence -> no default (tracking_no).
--   payment is not partitioned: InnoDB's partitioned tables can have no foreign keys.
--   The generated column is not NOT NULL, which MariaDB does not allow.
--   Keys cannot be deferred: the rows of store and staff are made with foreign_key_checks off.
--
-- InnoDB indexes foreign keys by itself. No stored procedures, no client commands.

-- The world ---------------------------------------------------------------------------------------

CREATE TABLE country (
    country_code  char(2)     PRIMARY KEY,
    name          varchar(60) NOT NULL,
    currency      char(3)     NOT NULL
);

CREATE TABLE city (
    city_id       integer     PRIMARY KEY,
    name          varchar(60) NOT NULL,
    country_code  char(2)     NOT NULL,
    FOREIGN KEY (country_code) REFERENCES country (country_code)
);

CREATE TABLE address (
    address_id    integer      PRIMARY KEY AUTO_INCREMENT,
    street        varchar(100) NOT NULL,
    postcode      varchar(10)  NOT NULL,
    city_id       integer      NOT NULL,
    FOREIGN KEY (city_id) REFERENCES city (city_id)
);

-- A lookup that no table references: a month's exchange rates to the euro.
CREATE TABLE exchange_rate (
    currency      char(3) NOT NULL,
    month         date    NOT NULL,
    rate          numeric(12, 6) NOT NULL,
    PRIMARY KEY (currency, month)
);

-- Head office: a cycle that nullable keys open ----------------------------------------------------

CREATE TABLE department (
    department_id integer     PRIMARY KEY,
    name          varchar(60) NOT NULL UNIQUE,
    manager_id    integer                       -- references employee, added below
);

CREATE TABLE employee (
    employee_id   integer     PRIMARY KEY,
    first_name    varchar(60) NOT NULL,
    last_name     varchar(60) NOT NULL,
    title         varchar(60) NOT NULL,
    department_id integer     NOT NULL,
    manager_id    integer,                      -- NULL for the managing director only
    hired_on      date        NOT NULL,
    FOREIGN KEY (department_id) REFERENCES department (department_id),
    FOREIGN KEY (manager_id) REFERENCES employee (employee_id)
);

ALTER TABLE department ADD FOREIGN KEY (manager_id) REFERENCES employee (employee_id);

-- The shops: a cycle of NOT NULL keys, so neither row can come first ------------------------------

CREATE TABLE store (
    store_id         integer     PRIMARY KEY,
    name             varchar(60) NOT NULL,
    address_id       integer     NOT NULL,
    manager_staff_id integer     NOT NULL,      -- references staff, added below
    area_manager_id  integer,
    opened_on        date        NOT NULL,
    FOREIGN KEY (address_id) REFERENCES address (address_id),
    FOREIGN KEY (area_manager_id) REFERENCES employee (employee_id)
);

CREATE TABLE staff (
    staff_id      integer     PRIMARY KEY,
    store_id      integer     NOT NULL,
    first_name    varchar(60) NOT NULL,
    last_name     varchar(60) NOT NULL,
    active        boolean     NOT NULL DEFAULT true,
    FOREIGN KEY (store_id) REFERENCES store (store_id)
);

ALTER TABLE store ADD FOREIGN KEY (manager_staff_id) REFERENCES staff (staff_id);

-- What is sold ------------------------------------------------------------------------------------

CREATE TABLE brand (
    brand_id      integer     PRIMARY KEY,
    name          varchar(60) NOT NULL UNIQUE,
    country_code  char(2),
    FOREIGN KEY (country_code) REFERENCES country (country_code)
);

CREATE TABLE category (
    category_id   integer     PRIMARY KEY,
    name          varchar(60) NOT NULL,
    parent_id     integer,
    FOREIGN KEY (parent_id) REFERENCES category (category_id)
);

CREATE TABLE product (
    product_id    integer       PRIMARY KEY AUTO_INCREMENT,
    sku           varchar(12)   NOT NULL UNIQUE, -- what the other tables reference
    name          varchar(100)  NOT NULL,
    brand_id      integer       NOT NULL,
    category_id   integer       NOT NULL,
    price         numeric(8, 2) NOT NULL CHECK (price > 0),
    attributes    json          NOT NULL,
    discontinued  date,
    FOREIGN KEY (brand_id) REFERENCES brand (brand_id),
    FOREIGN KEY (category_id) REFERENCES category (category_id)
);

CREATE TABLE stock (
    store_id      integer     NOT NULL,
    sku           varchar(12) NOT NULL,
    quantity      integer     NOT NULL,
    counted_on    date        NOT NULL,
    PRIMARY KEY (store_id, sku),
    FOREIGN KEY (store_id) REFERENCES store (store_id),
    FOREIGN KEY (sku) REFERENCES product (sku)
);

CREATE TABLE coupon (
    coupon_code   varchar(12) PRIMARY KEY,
    percent_off   smallint    NOT NULL CHECK (percent_off BETWEEN 1 AND 50),
    valid_from    date        NOT NULL,
    valid_until   date        NOT NULL
);

-- Who buys ----------------------------------------------------------------------------------------

CREATE TABLE customer (
    customer_id   integer      PRIMARY KEY AUTO_INCREMENT,
    first_name    varchar(60)  NOT NULL,
    last_name     varchar(60)  NOT NULL,
    company       varchar(100),
    email         varchar(200) NOT NULL UNIQUE,
    phone         varchar(30),
    birth_date    date,
    country_code  char(2)      NOT NULL,
    address_id    integer      NOT NULL,
    referred_by   integer,
    newsletter    boolean      NOT NULL DEFAULT false,
    created_at    timestamp    NOT NULL DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (country_code) REFERENCES country (country_code),
    FOREIGN KEY (address_id) REFERENCES address (address_id),
    FOREIGN KEY (referred_by) REFERENCES customer (customer_id)
);

-- What they buy -----------------------------------------------------------------------------------

CREATE TABLE `order` (
    order_id      integer       PRIMARY KEY AUTO_INCREMENT,
    customer_id   integer       NOT NULL,
    store_id      integer       NOT NULL,
    staff_id      integer,                      -- who served; NULL on line
    coupon_code   varchar(12),
    channel       enum ('online', 'store') NOT NULL,
    status        enum ('placed', 'paid', 'shipped', 'delivered', 'returned', 'cancelled') NOT NULL DEFAULT 'placed',
    shipping_fee  numeric(6, 2) NOT NULL DEFAULT 0,
    ordered_at    timestamp     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    remark        text,
    FOREIGN KEY (customer_id) REFERENCES customer (customer_id),
    FOREIGN KEY (store_id) REFERENCES store (store_id),
    FOREIGN KEY (staff_id) REFERENCES staff (staff_id),
    FOREIGN KEY (coupon_code) REFERENCES coupon (coupon_code)
);

CREATE TABLE order_line (
    order_id      integer       NOT NULL,
    line_no       smallint      NOT NULL,
    sku           varchar(12)   NOT NULL,
    quantity      integer       NOT NULL CHECK (quantity > 0),
    unit_price    numeric(8, 2) NOT NULL,
    amount        numeric(10, 2) GENERATED ALWAYS AS (quantity * unit_price) STORED,
    PRIMARY KEY (order_id, line_no),
    FOREIGN KEY (order_id) REFERENCES `order` (order_id),
    FOREIGN KEY (sku) REFERENCES product (sku)
);

CREATE TABLE payment (
    payment_id    bigint        NOT NULL AUTO_INCREMENT,
    order_id      integer       NOT NULL,
    method        varchar(10)   NOT NULL CHECK (method IN ('card', 'cash', 'transfer', 'wallet')),
    amount        numeric(10, 2) NOT NULL,
    paid_at       timestamp     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (payment_id, paid_at),
    FOREIGN KEY (order_id) REFERENCES `order` (order_id)
);

-- How it reaches them -----------------------------------------------------------------------------

CREATE TABLE shipment (
    shipment_id   integer       PRIMARY KEY AUTO_INCREMENT,
    order_id      integer       NOT NULL,
    address_id    integer       NOT NULL,
    tracking_no   bigint        NOT NULL UNIQUE,
    shipped_at    timestamp     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    delivered_at  timestamp     NULL DEFAULT NULL,
    FOREIGN KEY (order_id) REFERENCES `order` (order_id),
    FOREIGN KEY (address_id) REFERENCES address (address_id)
);

-- Which lines of an order a parcel holds: a composite foreign key to a composite key.
CREATE TABLE shipment_line (
    shipment_id   integer       NOT NULL,
    order_id      integer       NOT NULL,
    line_no       smallint      NOT NULL,
    PRIMARY KEY (shipment_id, line_no),
    FOREIGN KEY (shipment_id) REFERENCES shipment (shipment_id),
    FOREIGN KEY (order_id, line_no) REFERENCES order_line (order_id, line_no)
);

-- What they say, and what was noticed -------------------------------------------------------------

CREATE TABLE review (
    review_id     integer       PRIMARY KEY AUTO_INCREMENT,
    customer_id   integer       NOT NULL,
    product_id    integer       NOT NULL,
    rating        smallint      NOT NULL CHECK (rating BETWEEN 1 AND 5),
    body          text,
    answered_by   integer,
    created_at    timestamp     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    UNIQUE (customer_id, product_id),
    FOREIGN KEY (customer_id) REFERENCES customer (customer_id),
    FOREIGN KEY (product_id) REFERENCES product (product_id),
    FOREIGN KEY (answered_by) REFERENCES staff (staff_id)
);

-- No primary key, and rows that are equal in every column.
CREATE TABLE event_log (
    happened_at   timestamp     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    kind          varchar(30)   NOT NULL,
    customer_id   integer,
    order_id      integer,
    detail        json,
    FOREIGN KEY (customer_id) REFERENCES customer (customer_id),
    FOREIGN KEY (order_id) REFERENCES `order` (order_id)
);
