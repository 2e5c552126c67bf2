-- The demo database's rows on MySQL 8 and MariaDB 10.6 or later: the same 300,000 as data_postgresql.sql
-- makes, from the same dice. See there for the story; here the helper tables are ordinary ones, dropped at
-- the end, because MySQL opens a temporary table only once in a statement.

SET NAMES utf8mb4;
SET time_zone = '+00:00', lc_time_names = 'en_US';

-- Six throws for each of 150,000 numbers, 0 to 999,999: polynomials over the field of 2^31 - 1.
CREATE TABLE dice (
    n bigint PRIMARY KEY, a bigint NOT NULL, b bigint NOT NULL, c bigint NOT NULL,
    d bigint NOT NULL, e bigint NOT NULL, f bigint NOT NULL
);
INSERT INTO dice
WITH RECURSIVE upto (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM upto WHERE i < 499)
SELECT n,
       n * 1597334677 % 2147483647 * (n + 1103515245) % 2147483647 * (n + 1234567891) % 2147483647 % 1000000 AS a,
       n * 1181783497 % 2147483647 * (n + 1497516311) % 2147483647 * (n + 1812433253) % 2147483647 % 1000000 AS b,
       n * 1566083941 % 2147483647 * (n + 1019000579) % 2147483647 * (n + 1664525000) % 2147483647 % 1000000 AS c,
       n * 1284865837 % 2147483647 * (n + 1911520717) % 2147483647 * (n + 1323534323) % 2147483647 % 1000000 AS d,
       n * 1406837791 % 2147483647 * (n + 1712345671) % 2147483647 * (n + 1048576007) % 2147483647 % 1000000 AS e,
       n * 1720413743 % 2147483647 * (n + 1230987631) % 2147483647 * (n + 1999999973) % 2147483647 % 1000000 AS f
FROM (SELECT 1 + tall.i * 500 + wide.i AS n FROM upto AS tall CROSS JOIN upto AS wide WHERE tall.i < 300) AS numbers
ORDER BY n;

-- Names of people; the plain spelling is for e-mail addresses.
CREATE TABLE first_name (i integer PRIMARY KEY, name varchar(30), plain varchar(30));
INSERT INTO first_name VALUES
    ( 0, 'Aroha', 'aroha'), ( 1, 'Ben', 'ben'), ( 2, 'Carla', 'carla'), ( 3, 'Daniel', 'daniel'),
    ( 4, 'Elena', 'elena'), ( 5, 'Felix', 'felix'), ( 6, 'Grace', 'grace'), ( 7, 'Hugo', 'hugo'),
    ( 8, 'Inês', 'ines'), ( 9, 'Jakub', 'jakub'), (10, 'Kaito', 'kaito'), (11, 'Léa', 'lea'),
    (12, 'Marek', 'marek'), (13, 'Nora', 'nora'), (14, 'Oliver', 'oliver'), (15, 'Paula', 'paula'),
    (16, 'Quentin', 'quentin'), (17, 'Rosa', 'rosa'), (18, 'Søren', 'soren'), (19, 'Tane', 'tane'),
    (20, 'Ursula', 'ursula'), (21, 'Viktor', 'viktor'), (22, 'Wendy', 'wendy'), (23, 'Xavier', 'xavier'),
    (24, 'Yuki', 'yuki'), (25, 'Zoë', 'zoe'), (26, 'Amélie', 'amelie'), (27, 'Björn', 'bjorn'),
    (28, 'Chiara', 'chiara'), (29, 'Dylan', 'dylan'), (30, 'Emma', 'emma'), (31, 'Finn', 'finn'),
    (32, 'Giulia', 'giulia'), (33, 'Hanna', 'hanna'), (34, 'Isaac', 'isaac'), (35, 'Jade', 'jade'),
    (36, 'Klara', 'klara'), (37, 'Liam', 'liam'), (38, 'Mia', 'mia'), (39, 'Noah', 'noah');

CREATE TABLE last_name (i integer PRIMARY KEY, name varchar(30), plain varchar(30));
INSERT INTO last_name VALUES
    ( 0, 'Andersson', 'andersson'), ( 1, 'Bianchi', 'bianchi'), ( 2, 'Chen', 'chen'), ( 3, 'Dubois', 'dubois'),
    ( 4, 'Evans', 'evans'), ( 5, 'Fischer', 'fischer'), ( 6, 'García', 'garcia'), ( 7, 'Harris', 'harris'),
    ( 8, 'Ito', 'ito'), ( 9, 'Jensen', 'jensen'), (10, 'Kowalski', 'kowalski'), (11, 'López', 'lopez'),
    (12, 'Müller', 'mueller'), (13, 'Ngata', 'ngata'), (14, 'O''Connor', 'oconnor'), (15, 'Patel', 'patel'),
    (16, 'Quinn', 'quinn'), (17, 'Rossi', 'rossi'), (18, 'Smith', 'smith'), (19, 'Tanaka', 'tanaka'),
    (20, 'Underwood', 'underwood'), (21, 'van Dijk', 'vandijk'), (22, 'Weber', 'weber'), (23, 'Walker', 'walker'),
    (24, 'Yamada', 'yamada'), (25, 'Zieliński', 'zielinski'), (26, 'Almeida', 'almeida'), (27, 'Brown', 'brown'),
    (28, 'Côté', 'cote'), (29, 'de Vries', 'devries'), (30, 'Eriksen', 'eriksen'), (31, 'Ferrari', 'ferrari'),
    (32, 'Gruber', 'gruber'), (33, 'Huber', 'huber'), (34, 'Ivanova', 'ivanova'), (35, 'Jones', 'jones'),
    (36, 'Karlsson', 'karlsson'), (37, 'Laurent', 'laurent'), (38, 'Martin', 'martin'), (39, 'Nowak', 'nowak'),
    (40, 'Olsen', 'olsen'), (41, 'Peeters', 'peeters'), (42, 'Ryan', 'ryan'), (43, 'Silva', 'silva'),
    (44, 'Taylor', 'taylor'), (45, 'Wagner', 'wagner'), (46, 'Wilson', 'wilson');

CREATE TABLE street_name (i integer PRIMARY KEY, name varchar(30));
INSERT INTO street_name VALUES
    ( 0, 'Station Road'), ( 1, 'Mill Lane'), ( 2, 'Church Street'), ( 3, 'Canal Walk'), ( 4, 'Harbour View'),
    ( 5, 'King Street'), ( 6, 'Park Avenue'), ( 7, 'Orchard Close'), ( 8, 'Market Square'), ( 9, 'Bridge Street'),
    (10, 'Lighthouse Road'), (11, 'Vineyard Hill'), (12, 'Old Tannery'), (13, 'Linden Alley'), (14, 'Garden Terrace'),
    (15, 'University Street'), (16, 'Sunrise Drive'), (17, 'Foundry Yard'), (18, 'Fern Gully'), (19, 'Windmill Dyke'),
    (20, 'Rope Walk'), (21, 'Theatre Lane'), (22, 'Chestnut Grove');

-- The world ---------------------------------------------------------------------------------------

-- Each country with its share of the customers, in thousandths, and its second shop, if it has one.
CREATE TABLE market (
    i integer PRIMARY KEY, country_code char(2), name text, currency char(3), share integer, second_store integer
);
INSERT INTO market VALUES
    ( 1, 'DE', 'Germany',        'EUR', 150,   21), ( 2, 'US', 'United States',  'USD', 130,   22),
    ( 3, 'GB', 'United Kingdom', 'GBP', 115,   23), ( 4, 'FR', 'France',         'EUR', 100, NULL),
    ( 5, 'NL', 'Netherlands',    'EUR',  85, NULL), ( 6, 'IT', 'Italy',          'EUR',  65, NULL),
    ( 7, 'ES', 'Spain',          'EUR',  60, NULL), ( 8, 'PL', 'Poland',         'PLN',  45, NULL),
    ( 9, 'SE', 'Sweden',         'SEK',  40, NULL), (10, 'DK', 'Denmark',        'DKK',  40, NULL),
    (11, 'AU', 'Australia',      'AUD',  30, NULL), (12, 'CA', 'Canada',         'CAD',  25, NULL),
    (13, 'JP', 'Japan',          'JPY',  20, NULL), (14, 'NZ', 'New Zealand',    'NZD',  25,   24),
    (15, 'AT', 'Austria',        'EUR',  15, NULL), (16, 'BE', 'Belgium',        'EUR',  15, NULL),
    (17, 'CH', 'Switzerland',    'CHF',  15, NULL), (18, 'IE', 'Ireland',        'EUR',  10, NULL),
    (19, 'PT', 'Portugal',       'EUR',  10, NULL), (20, 'NO', 'Norway',         'NOK',   5, NULL);

INSERT INTO country SELECT country_code, name, currency FROM market ORDER BY i;

-- Six cities to a country, in the order of the markets; the shops are in the first and second.
CREATE TABLE city_name (city_id integer PRIMARY KEY, name varchar(60));
INSERT INTO city_name VALUES
    (  1, 'Berlin'), (  2, 'Hamburg'), (  3, 'Munich'), (  4, 'Cologne'), (  5, 'Leipzig'), (  6, 'Freiburg'),
    (  7, 'Portland'), (  8, 'Minneapolis'), (  9, 'Boulder'), ( 10, 'Davis'), ( 11, 'New York'), ( 12, 'Austin'),
    ( 13, 'London'), ( 14, 'Bristol'), ( 15, 'Cambridge'), ( 16, 'York'), ( 17, 'Glasgow'), ( 18, 'Cardiff'),
    ( 19, 'Paris'), ( 20, 'Lyon'), ( 21, 'Strasbourg'), ( 22, 'Nantes'), ( 23, 'Bordeaux'), ( 24, 'Grenoble'),
    ( 25, 'Utrecht'), ( 26, 'Amsterdam'), ( 27, 'Groningen'), ( 28, 'Rotterdam'), ( 29, 'Zwolle'), ( 30, 'Delft'),
    ( 31, 'Milan'), ( 32, 'Bologna'), ( 33, 'Ferrara'), ( 34, 'Turin'), ( 35, 'Florence'), ( 36, 'Rome'),
    ( 37, 'Barcelona'), ( 38, 'Seville'), ( 39, 'Valencia'), ( 40, 'Madrid'), ( 41, 'Girona'), ( 42, 'A Coruña'),
    ( 43, 'Warsaw'), ( 44, 'Kraków'), ( 45, 'Gdańsk'), ( 46, 'Poznań'), ( 47, 'Łódź'), ( 48, 'Wrocław'),
    ( 49, 'Malmö'), ( 50, 'Stockholm'), ( 51, 'Lund'), ( 52, 'Göteborg'), ( 53, 'Uppsala'), ( 54, 'Umeå'),
    ( 55, 'Copenhagen'), ( 56, 'Aarhus'), ( 57, 'Odense'), ( 58, 'Aalborg'), ( 59, 'Esbjerg'), ( 60, 'Roskilde'),
    ( 61, 'Melbourne'), ( 62, 'Adelaide'), ( 63, 'Canberra'), ( 64, 'Sydney'), ( 65, 'Perth'), ( 66, 'Hobart'),
    ( 67, 'Montréal'), ( 68, 'Vancouver'), ( 69, 'Victoria'), ( 70, 'Toronto'), ( 71, 'Ottawa'), ( 72, 'Halifax'),
    ( 73, 'Kyoto'), ( 74, 'Tokyo'), ( 75, 'Osaka'), ( 76, 'Nagoya'), ( 77, 'Sapporo'), ( 78, 'Fukuoka'),
    ( 79, 'Auckland'), ( 80, 'Wellington'), ( 81, 'Christchurch'), ( 82, 'Dunedin'), ( 83, 'Rotorua'), ( 84, 'Nelson'),
    ( 85, 'Vienna'), ( 86, 'Graz'), ( 87, 'Linz'), ( 88, 'Salzburg'), ( 89, 'Innsbruck'), ( 90, 'Bregenz'),
    ( 91, 'Ghent'), ( 92, 'Antwerp'), ( 93, 'Bruges'), ( 94, 'Leuven'), ( 95, 'Brussels'), ( 96, 'Liège'),
    ( 97, 'Basel'), ( 98, 'Bern'), ( 99, 'Zürich'), (100, 'Geneva'), (101, 'Winterthur'), (102, 'Lausanne'),
    (103, 'Dublin'), (104, 'Cork'), (105, 'Galway'), (106, 'Limerick'), (107, 'Waterford'), (108, 'Kilkenny'),
    (109, 'Porto'), (110, 'Lisbon'), (111, 'Aveiro'), (112, 'Coimbra'), (113, 'Braga'), (114, 'Faro'),
    (115, 'Oslo'), (116, 'Bergen'), (117, 'Trondheim'), (118, 'Stavanger'), (119, 'Kristiansand'), (120, 'Tromsø');

INSERT INTO city
SELECT city_name.city_id, city_name.name, market.country_code
FROM city_name
JOIN market ON market.i = 1 + (city_name.city_id - 1) DIV 6
ORDER BY city_name.city_id;

-- Addresses 1 to 24 are the shops', the next 10,000 the customers' (customer 1 lives at 25), and
-- the last 1,500 are where every sixth customer also has parcels sent: the office, the neighbour.
CREATE TABLE shop_address (store_id integer PRIMARY KEY, city_id integer NOT NULL) AS
SELECT i AS store_id, (i - 1) * 6 + 1 AS city_id FROM market
UNION ALL
SELECT second_store, (i - 1) * 6 + 2 FROM market WHERE second_store IS NOT NULL;

INSERT INTO address (address_id, street, postcode, city_id)
SELECT place.address_id, concat(1 + dice.a % 180, ' ', street_name.name), lpad(dice.b % 100000, 5, '0'),
       place.city_id
FROM (
    SELECT store_id AS address_id, city_id FROM shop_address
    UNION ALL
    SELECT 24 + dice.n, (market.i - 1) * 6 + 1 + dice.d % 6
    FROM dice
    JOIN (SELECT i, share, sum(share) OVER (ORDER BY i) AS up_to FROM market) AS market
      ON dice.c % 1000 >= market.up_to - market.share AND dice.c % 1000 < market.up_to
    WHERE dice.n <= 10000
    UNION ALL
    SELECT 10024 + dice.n, 1 + dice.d % 120 FROM dice WHERE dice.n <= 1500
) AS place
JOIN dice ON dice.n = place.address_id + 50000
JOIN street_name ON street_name.i = dice.c % 23
ORDER BY place.address_id;

CREATE TABLE euro_rate (i integer PRIMARY KEY, currency char(3), per_euro numeric(8, 2));
INSERT INTO euro_rate VALUES
    (1, 'USD', 1.08), (2, 'GBP', 0.85), (3, 'PLN', 4.31), (4, 'SEK', 11.32), (5, 'DKK', 7.46), (6, 'AUD', 1.66),
    (7, 'CAD', 1.49), (8, 'JPY', 162.4), (9, 'NZD', 1.81), (10, 'CHF', 0.95), (11, 'NOK', 11.7);

CREATE TABLE months (n integer PRIMARY KEY, first_day date NOT NULL) AS
SELECT n - 1 AS n, date '2025-01-01' + INTERVAL n - 1 MONTH AS first_day FROM dice WHERE n <= 18;

INSERT INTO exchange_rate
SELECT euro_rate.currency, months.first_day, round(euro_rate.per_euro * (1000 + dice.a % 61 - 30) / 1000, 6)
FROM euro_rate
CROSS JOIN months
JOIN dice ON dice.n = euro_rate.i * 18 + months.n
ORDER BY euro_rate.currency, months.first_day;

-- Head office -------------------------------------------------------------------------------------

INSERT INTO department (department_id, name) VALUES
    (1, 'Management'), (2, 'Retail'), (3, 'Online shop'), (4, 'Purchasing'), (5, 'Logistics'), (6, 'Finance'),
    (7, 'Marketing'), (8, 'Customer care'), (9, 'IT'), (10, 'People'), (11, 'Sustainability');

-- One managing director, a head for each of nine departments, and below each head a tree three levels deep.
INSERT INTO employee (employee_id, first_name, last_name, title, department_id, manager_id, hired_on)
SELECT who.employee_id, first_name.name, last_name.name,
       CASE WHEN who.employee_id = 1 THEN 'Managing director'
            WHEN who.employee_id <= 10 THEN 'Head of department'
            WHEN who.place < 2 THEN 'Group manager'
            WHEN who.place < 6 THEN CASE WHEN who.branch = 2 THEN 'Area manager' ELSE 'Team leader' END
            ELSE 'Specialist' END,
       CASE WHEN who.employee_id <= 10 THEN who.employee_id ELSE who.branch END,
       CASE WHEN who.employee_id = 1 THEN NULL
            WHEN who.employee_id <= 10 THEN 1
            WHEN who.place < 2 THEN who.branch
            ELSE 11 + (who.place - 2) DIV 2 * 9 + who.branch - 2 END,
       date '2025-01-01' - INTERVAL dice.c % 3600 DAY
FROM (SELECT n AS employee_id, (n - 11) DIV 9 AS place, 2 + (n - 11) % 9 AS branch FROM dice WHERE n <= 120) AS who
JOIN dice ON dice.n = who.employee_id + 20000
JOIN first_name ON first_name.i = dice.a % 40
JOIN last_name ON last_name.i = dice.b % 47
ORDER BY who.employee_id;

-- Sustainability is new and has no manager yet.
UPDATE department SET manager_id = department_id WHERE department_id <= 10;

-- The shops ---------------------------------------------------------------------------------------

-- The only rows made without a check: neither table's can come first.
SET foreign_key_checks = 0;

INSERT INTO store (store_id, name, address_id, manager_staff_id, area_manager_id, opened_on)
SELECT shop_address.store_id, concat('Spoke & Chain ', city.name), shop_address.store_id, shop_address.store_id,
       CASE WHEN shop_address.store_id <> 20 THEN 29 + shop_address.store_id % 4 * 9 END,
       date '2025-01-01' - INTERVAL shop_address.store_id * 150 DAY
FROM shop_address
JOIN city ON city.city_id = shop_address.city_id
ORDER BY shop_address.store_id;

INSERT INTO staff (staff_id, store_id, first_name, last_name, active)
SELECT dice.n, 1 + (dice.n - 1) % 24, first_name.name, last_name.name, dice.n <= 24 OR dice.c % 100 < 88
FROM dice
JOIN first_name ON first_name.i = dice.a % 40
JOIN last_name ON last_name.i = dice.b % 47
WHERE dice.n <= 200
ORDER BY dice.n;

SET foreign_key_checks = 1;

-- What is sold ------------------------------------------------------------------------------------

INSERT INTO brand (brand_id, name, country_code) VALUES
    ( 1, 'Kestrel & Co', 'GB'), ( 2, 'Velo Nord', 'SE'), ( 3, 'Rata', 'NZ'), ( 4, 'Bergwerk 29', 'AT'),
    ( 5, 'Cima', 'IT'), ( 6, 'Polderwind', 'NL'), ( 7, 'Hinode', 'JP'), ( 8, 'Cascadia', 'US'),
    ( 9, 'Mistral', 'FR'), (10, 'Iron Fern', 'NZ'), (11, 'Halden', 'NO'), (12, 'Sirocco', 'ES'),
    (13, 'Bruma', 'PT'), (14, 'Tatra Works', 'PL'), (15, 'Red Gum', 'AU'), (16, 'Longitude', 'GB'),
    (17, 'Zwart', 'NL'), (18, 'Aare', 'CH'), (19, 'Laurier', 'CA'), (20, 'Own brand', NULL);

INSERT INTO category (category_id, name, parent_id) VALUES
    ( 1, 'Bikes', NULL), ( 2, 'Components', NULL), ( 3, 'Accessories', NULL), ( 4, 'Clothing', NULL),
    ( 5, 'Road bikes', 1), ( 6, 'Gravel bikes', 1), ( 7, 'Mountain bikes', 1), ( 8, 'City bikes', 1),
    ( 9, 'Electric bikes', 1), (10, 'Children''s bikes', 1), (11, 'Hardtails', 7), (12, 'Full suspension', 7),
    (13, 'Electric city bikes', 9), (14, 'Cargo bikes', 9),
    (15, 'Drivetrain', 2), (16, 'Chains', 15), (17, 'Cassettes', 15), (18, 'Cranksets', 15),
    (19, 'Wheels', 2), (20, 'Wheelsets', 19), (21, 'Tyres', 19), (22, 'Inner tubes', 19),
    (23, 'Brakes', 2), (24, 'Saddles', 2), (25, 'Handlebars', 2), (26, 'Pedals', 2),
    (27, 'Lights', 3), (28, 'Locks', 3), (29, 'Pumps', 3), (30, 'Bags', 3), (31, 'Bottles', 3),
    (32, 'Child seats', 3), (33, 'Tools', 3),
    (34, 'Helmets', 4), (35, 'Jerseys', 4), (36, 'Shorts', 4), (37, 'Gloves', 4), (38, 'Shoes', 4),
    (39, 'Rain jackets', 4), (40, 'Glasses', 4);

-- Forty products in each category that has no other below it, those most in demand first; the usual
-- price is in whole euros.
CREATE TABLE kind (
    i integer PRIMARY KEY, category_id integer, code char(2), noun varchar(20), price integer, grams integer
);
INSERT INTO kind VALUES
    ( 0, 22, 'TB', 'inner tube',            7,   120), ( 1, 21, 'TY', 'tyre',                 44,   380),
    ( 2, 16, 'CH', 'chain',                32,   255), ( 3, 27, 'LI', 'light',                39,    90),
    ( 4, 31, 'BO', 'bottle',               12,    95), ( 5, 37, 'GL', 'gloves',               29,    70),
    ( 6, 28, 'LK', 'lock',                 55,  1100), ( 7, 29, 'PU', 'pump',                 36,   480),
    ( 8, 33, 'TL', 'multitool',            28,   170), ( 9, 34, 'HE', 'helmet',               96,   310),
    (10, 26, 'PD', 'pedals',               58,   340), (11, 35, 'JE', 'jersey',               64,   160),
    (12, 23, 'BR', 'disc brake',          110,   430), (13, 36, 'SH', 'bib shorts',           88,   190),
    (14, 30, 'BG', 'pannier bag',          82,   950), (15, 24, 'SA', 'saddle',               78,   270),
    (16, 17, 'CS', 'cassette',             85,   320), (17, 25, 'HB', 'handlebar',            66,   290),
    (18, 40, 'GS', 'glasses',              74,    35), (19, 39, 'RJ', 'rain jacket',         118,   280),
    (20, 38, 'SO', 'shoes',               132,   620), (21, 32, 'SE', 'child seat',          140,  4300),
    (22, 18, 'CR', 'crankset',            160,   690), (23, 20, 'WS', 'wheelset',            540,  1720),
    (24, 10, 'KD', 'children''s bike',    310,  9800), (25,  8, 'CT', 'city bike',           720, 16500),
    (26, 11, 'HT', 'hardtail',           1250, 12800), (27,  6, 'GR', 'gravel bike',        1700,  9400),
    (28,  5, 'RD', 'road bike',          1900,  8200), (29, 13, 'EC', 'electric city bike', 2600, 24500),
    (30, 12, 'FS', 'trail bike',         3100, 14200), (31, 14, 'CB', 'cargo bike',         4800, 38000);

CREATE TABLE series (i integer PRIMARY KEY, name varchar(20));
INSERT INTO series VALUES
    ( 0, 'Alto'), ( 1, 'Meridian'), ( 2, 'Strand'), ( 3, 'Ridge'), ( 4, 'Comet'), ( 5, 'Lark'), ( 6, 'Fjord'),
    ( 7, 'Terra'), ( 8, 'Tempo'), ( 9, 'Summit'), (10, 'Breeze'), (11, 'Delta'), (12, 'Ember'), (13, 'Polar'),
    (14, 'Quartz'), (15, 'Nimbus');

CREATE TABLE colour (i integer PRIMARY KEY, name varchar(20));
INSERT INTO colour VALUES
    (0, 'black'), (1, 'white'), (2, 'red'), (3, 'forest green'), (4, 'navy'), (5, 'orange'), (6, 'sand');

INSERT INTO product (product_id, sku, name, brand_id, category_id, price, attributes, discontinued)
SELECT dice.n, concat(kind.code, '-', lpad(dice.n, 4, '0')), concat(brand.name, ' ', series.name, ' ', kind.noun),
       brand.brand_id, kind.category_id, kind.price * (60 + dice.b % 120) DIV 100 + 0.90,
       json_object('colour', colour.name, 'weight_g', kind.grams * (80 + dice.f % 40) DIV 100),
       CASE WHEN dice.e % 100 < 6 THEN date '2026-01-01' + INTERVAL dice.e % 150 DAY END
FROM dice
JOIN kind ON kind.i = (dice.n - 1) DIV 40
JOIN brand ON brand.brand_id = 1 + dice.a % 20
JOIN series ON series.i = dice.c % 16
JOIN colour ON colour.i = dice.d % 7
WHERE dice.n <= 1280
ORDER BY dice.n;

-- A shop has about four fifths of the range.
INSERT INTO stock (store_id, sku, quantity, counted_on)
SELECT store.store_id, product.sku, dice.b % 25, date '2026-06-30' - INTERVAL dice.c % 90 DAY
FROM store
CROSS JOIN product
JOIN dice ON dice.n = 60000 + (store.store_id - 1) * 1280 + product.product_id
WHERE dice.a % 100 < 80
ORDER BY store.store_id, product.product_id;

-- One coupon a month: JAN25, FEB25 and so on.
INSERT INTO coupon
SELECT upper(date_format(first_day, '%b%y')), 5 + 5 * (month(first_day) % 4),
       first_day, first_day + INTERVAL 1 MONTH - INTERVAL 1 DAY
FROM months
ORDER BY first_day;

-- Who buys ----------------------------------------------------------------------------------------

-- Day 0 is 2 January 2025, day 544 is 30 June 2026. Order n of 30,000 falls on day
-- 544 * (3 * 30000 * n - n * n) / (2 * 30000 * 30000): trade triples over that time. Customer n signs
-- up the day before order 3 * n - 2, and orders are by customers who are there by then.
INSERT INTO customer (customer_id, first_name, last_name, company, email, phone, birth_date, country_code,
                      address_id, referred_by, newsletter, created_at)
SELECT dice.n, first_name.name, last_name.name,
       CASE WHEN dice.n <= 40 OR dice.f % 100 < 4
            THEN concat(last_name.name, CASE dice.f % 5
                 WHEN 0 THEN ' Couriers' WHEN 1 THEN ' Bike Hire' WHEN 2 THEN ' Tours' WHEN 3 THEN ' Logistics'
                 ELSE ' Cycling Club' END) END,
       concat(first_name.plain, '.', last_name.plain, dice.n, '@example.',
              CASE dice.e % 3 WHEN 0 THEN 'com' WHEN 1 THEN 'net' ELSE 'org' END),
       CASE WHEN dice.e % 10 < 6 THEN concat('+00 ', 100 + dice.e % 900, ' ', lpad(dice.d % 10000, 4, '0')) END,
       CASE WHEN dice.f % 10 >= 4 THEN date '1950-01-01' + INTERVAL dice.b % 20000 DAY END,
       city.country_code, address.address_id,
       CASE WHEN dice.n > 1 AND dice.d % 100 < 9 THEN 1 + dice.b % (dice.n - 1) END,
       dice.c % 100 < 45,
       timestamp '2025-01-01 00:00:00'
           + INTERVAL 544 * (90000 * (3 * dice.n - 2) - (3 * dice.n - 2) * (3 * dice.n - 2)) DIV 1800000000 DAY
           + INTERVAL dice.c % 86400 SECOND
FROM dice
JOIN first_name ON first_name.i = dice.a % 40
JOIN last_name ON last_name.i = dice.b % 47
JOIN address ON address.address_id = 24 + dice.n
JOIN city ON city.city_id = address.city_id
WHERE dice.n <= 10000
ORDER BY dice.n;

-- What they buy -----------------------------------------------------------------------------------

-- Half of the orders go to anybody, the other half mostly to the oldest customers: a few hire
-- companies buy by the hundred, and many customers have not bought yet. The joins go in this order or,
-- on MariaDB, take half a minute.
INSERT INTO `order` (order_id, customer_id, store_id, staff_id, coupon_code, channel, status, shipping_fee,
                     ordered_at, remark)
SELECT sale.n, sale.customer_id, sale.store_id,
       CASE WHEN sale.in_store THEN sale.store_id + sale.e % 8 * 24 END,
       CASE WHEN sale.d % 100 < 12 THEN upper(date_format(sale.ordered_at, '%b%y')) END,
       CASE WHEN sale.in_store THEN 'store' ELSE 'online' END,
       CASE WHEN sale.c % 100 < 4 THEN 'cancelled'
            WHEN sale.c % 100 < 7 AND sale.day < 530 THEN 'returned'
            WHEN sale.in_store OR sale.day < 535 THEN 'delivered'
            WHEN sale.day < 540 THEN 'shipped'
            WHEN sale.day < 543 THEN 'paid'
            ELSE 'placed' END,
       CASE WHEN sale.in_store THEN 0 WHEN sale.f % 3 = 0 THEN 4.90 ELSE 9.90 END,
       sale.ordered_at,
       CASE sale.f % 50
           WHEN 1 THEN 'Please ring twice'
           WHEN 2 THEN 'Gate code: 12\\34\nBeware of the dog'
           WHEN 3 THEN 'Leave it at no. 7\t(Mrs. "Zoë" O''Connor)'
           WHEN 4 THEN '' END
FROM (
    SELECT dice.*, customer.customer_id, dice.b % 100 < 30 AS in_store,
           CASE WHEN dice.e % 2 = 0 THEN market.i ELSE coalesce(market.second_store, market.i) END AS store_id,
           544 * (90000 * dice.n - dice.n * dice.n) DIV 1800000000 AS day,
           timestamp '2025-01-02 07:00:00'
               + INTERVAL 544 * (90000 * dice.n - dice.n * dice.n) DIV 1800000000 DAY
               + INTERVAL dice.c % 54000 SECOND AS ordered_at
    FROM dice
    STRAIGHT_JOIN customer
      ON customer.customer_id = 1 + (dice.n + 2) DIV 3
             * CASE WHEN dice.d % 2 = 0 THEN dice.a * 1000000 ELSE dice.a * dice.a END DIV 1000000000000
    STRAIGHT_JOIN market ON market.country_code = customer.country_code
    WHERE dice.n <= 30000
) AS sale
ORDER BY sale.n;

-- One to five lines an order; the lower a product's number, the more it sells.
INSERT INTO order_line (order_id, line_no, sku, quantity, unit_price)
SELECT `order`.order_id, position.line_no, product.sku,
       CASE WHEN product.price > 300 OR line.b % 10 < 7 THEN 1 WHEN line.b % 10 < 9 THEN 2 ELSE 2 + line.c % 5 END,
       product.price
FROM `order`
JOIN dice ON dice.n = `order`.order_id + 100000
CROSS JOIN (SELECT n AS line_no FROM dice WHERE n <= 5) AS position
JOIN dice AS line ON line.n = (`order`.order_id - 1) * 5 + position.line_no
JOIN product ON product.product_id = 1 + 1280 * (line.a * line.a) DIV 1000000000000
WHERE position.line_no <= CASE WHEN dice.d % 100 < 30 THEN 1
                      WHEN dice.d % 100 < 60 THEN 2
                      WHEN dice.d % 100 < 80 THEN 3
                      WHEN dice.d % 100 < 92 THEN 4
                      ELSE 5 END
ORDER BY `order`.order_id, position.line_no;

-- Every order that went through is paid at once, a few large ones in two halves, two weeks apart.
INSERT INTO payment (payment_id, order_id, method, amount, paid_at)
SELECT row_number() OVER (ORDER BY bill.ordered_at + INTERVAL part.n * 14 DAY, bill.order_id),
       bill.order_id,
       CASE WHEN bill.channel = 'store' AND bill.e % 10 < 4 THEN 'cash' WHEN bill.e % 10 < 7 THEN 'card'
            WHEN bill.e % 10 < 9 THEN 'wallet' ELSE 'transfer' END,
       CASE WHEN NOT bill.in_two THEN bill.total WHEN part.n = 0 THEN round(bill.total / 2, 2)
            ELSE bill.total - round(bill.total / 2, 2) END,
       bill.ordered_at + INTERVAL bill.e % 3600 SECOND + INTERVAL part.n * 14 DAY
FROM (
    SELECT `order`.order_id, `order`.channel, `order`.ordered_at, dice.e,
           basket.total > 600 AND dice.f % 4 = 0 AS in_two,
           round(basket.total * (100 - coalesce(coupon.percent_off, 0)) / 100 + `order`.shipping_fee, 2) AS total
    FROM `order`
    JOIN (SELECT order_id, sum(amount) AS total FROM order_line GROUP BY order_id) AS basket USING (order_id)
    JOIN dice ON dice.n = `order`.order_id + 40000
    LEFT JOIN coupon USING (coupon_code)
    WHERE `order`.status NOT IN ('placed', 'cancelled')
) AS bill
JOIN months AS part ON part.n <= 1
WHERE (part.n = 0 OR bill.in_two) AND bill.ordered_at + INTERVAL part.n * 14 DAY < '2026-06-30 00:00:00'
ORDER BY 1;

-- How it reaches them -----------------------------------------------------------------------------

-- One parcel an order, or two, even lines and odd lines, for some of those with three lines or more.
CREATE TABLE packing (
    shipment_id integer NOT NULL, order_id integer NOT NULL, line_no smallint NOT NULL, customer_id integer NOT NULL,
    status varchar(10) NOT NULL, ordered_at datetime NOT NULL, a bigint NOT NULL, b bigint NOT NULL,
    parcel smallint NOT NULL
);
INSERT INTO packing
SELECT dense_rank() OVER (ORDER BY packed.order_id, packed.parcel) AS shipment_id, packed.*
FROM (
    SELECT order_line.order_id, order_line.line_no, `order`.customer_id, `order`.status, `order`.ordered_at,
           dice.a, dice.b,
           CASE WHEN dice.a % 100 < 40 AND max(order_line.line_no) OVER (PARTITION BY order_line.order_id) >= 3
                THEN order_line.line_no % 2 ELSE 0 END AS parcel
    FROM order_line
    JOIN `order` USING (order_id)
    JOIN dice ON dice.n = order_line.order_id + 70000
    WHERE `order`.channel = 'online' AND `order`.status IN ('shipped', 'delivered', 'returned')
) AS packed;

INSERT INTO shipment (shipment_id, order_id, address_id, tracking_no, shipped_at, delivered_at)
SELECT shipment_id, order_id,
       CASE WHEN customer_id % 6 = 0 AND customer_id <= 9000 AND a % 3 < 2
            THEN 10024 + customer_id DIV 6 ELSE 24 + customer_id END,
       730000000 + shipment_id,
       ordered_at + INTERVAL parcel + 1 DAY,
       CASE WHEN status <> 'shipped' THEN ordered_at + INTERVAL parcel + 2 + b % 4 DAY END
FROM packing
GROUP BY shipment_id, order_id, customer_id, a, b, status, ordered_at, parcel
ORDER BY shipment_id;

INSERT INTO shipment_line (shipment_id, order_id, line_no)
SELECT shipment_id, order_id, line_no FROM packing ORDER BY shipment_id, line_no;

-- What they say, and what was noticed -------------------------------------------------------------

CREATE TABLE verdict (i integer PRIMARY KEY, rating smallint, body varchar(60));
INSERT INTO verdict VALUES
    (0, 1, 'Broke on the first ride.'), (1, 2, 'Not what the picture shows.'), (2, 3, 'Does what it should.'),
    (3, 3, 'Fine for the price.'), (4, 4, 'Solid, a little heavy.'), (5, 4, 'Good, would like more colours.'),
    (6, 4, 'Fits well.'), (7, 5, 'Could not be happier!'), (8, 5, 'My third one. Says it all.'),
    (9, 5, 'Beautifully made.');

INSERT INTO review (review_id, customer_id, product_id, rating, body, answered_by, created_at)
SELECT row_number() OVER (ORDER BY bought.ordered_at, bought.customer_id, bought.product_id),
       bought.customer_id, bought.product_id, verdict.rating,
       CASE WHEN dice.c % 4 > 0
            THEN concat(verdict.body, CASE dice.d % 4 WHEN 0 THEN ' Quick delivery.'
                                                      WHEN 1 THEN ' 😀'
                                                      WHEN 2 THEN '\n\nWould buy again: perhaps.'
                                                      ELSE '' END) END,
       CASE WHEN verdict.rating <= 2 AND dice.d % 3 > 0 THEN bought.store_id END,
       bought.ordered_at + INTERVAL 5 + dice.e % 20 DAY
FROM (
    SELECT `order`.customer_id, product.product_id, min(`order`.order_id) AS order_id,
           min(`order`.ordered_at) AS ordered_at, min(`order`.store_id) AS store_id
    FROM order_line
    JOIN `order` USING (order_id)
    JOIN product USING (sku)
    WHERE `order`.status IN ('delivered', 'returned') AND `order`.ordered_at < '2026-06-01 00:00:00'
    GROUP BY `order`.customer_id, product.product_id
) AS bought
JOIN dice ON dice.n = bought.order_id * 4 + bought.product_id % 4
JOIN verdict ON verdict.i = dice.b % 10
WHERE dice.a % 100 < 13
ORDER BY 1;

-- Orders on line are noted with customer and order, parcels with the order only, newsletters with the
-- customer only, and pages that strangers look at with neither, to the hour, so that some are alike.
-- The number of these brings the database to 300,000 rows.
INSERT INTO event_log (happened_at, kind, customer_id, order_id, detail)
SELECT ordered_at, 'order placed', customer_id, order_id, NULL
FROM `order` WHERE channel = 'online'
UNION ALL
SELECT shipped_at + INTERVAL 6 HOUR, 'parcel scanned', NULL, order_id, json_object('tracking_no', tracking_no)
FROM shipment WHERE shipment_id % 3 = 0
UNION ALL
SELECT customer.created_at + INTERVAL dice.a % 28 + 1 DAY, 'newsletter opened', customer_id, NULL, NULL
FROM customer JOIN dice ON dice.n = customer_id + 80000
WHERE newsletter AND customer.created_at < '2026-06-01 00:00:00'
UNION ALL
SELECT timestamp '2025-01-02 00:00:00' + INTERVAL dice.a * dice.a DIV 76700000 HOUR, 'page viewed',
       NULL, NULL, json_object('sku', product.sku)
FROM dice JOIN product ON product_id = 1280 - dice.b % 9 WHERE dice.n <= 8420
ORDER BY 1, 2, 3, 4;

-- Nothing of the scaffolding stays; auto_increment has found its next free numbers by itself --------

DROP TABLE dice, first_name, last_name, street_name, market, city_name, shop_address, euro_rate,
           months, kind, series, colour, packing, verdict;

ANALYZE TABLE country, city, address, exchange_rate, department, employee, store, staff, brand, category, product,
              stock, coupon, customer, `order`, order_line, payment, shipment, shipment_line, review, event_log;
