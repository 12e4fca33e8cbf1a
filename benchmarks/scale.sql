-- The same computation by hand, as somebody who knows DuckDB writes it: each file of events is read once, a day stays in
-- memory until its marts are written, and the lists come from the marts. Files, rows, order and sums are the platform's.
-- {data}, {out}, {day}, … are filled in; the part between "each day" and "lists" runs once a day.

-- each day
CREATE OR REPLACE TEMP TABLE clean AS
WITH unique_rows AS (
    SELECT user_id, item_id, event_type, ts, order_id, quantity, price,
           min({{'f': source_file, 'r': source_row}}) AS source
    FROM read_parquet('{data}/events/dt={day}/rows.parquet')
    GROUP BY user_id, item_id, event_type, ts, order_id, quantity, price
), starts AS (
    SELECT *, CASE WHEN ts - lag(ts) OVER visit > INTERVAL 30 MINUTE OR lag(ts) OVER visit IS NULL
                   THEN epoch_us(ts) // 1000000 END AS start
    FROM unique_rows
    WINDOW visit AS (PARTITION BY user_id ORDER BY ts, source)
)
SELECT user_id, item_id, event_type, ts, order_id, quantity, price,
       CASE WHEN user_id IS NOT NULL THEN max(start) OVER (PARTITION BY user_id ORDER BY ts, source) END AS session_id,
       source.f AS source_file, source.r AS source_row,
       CASE event_type WHEN 'view' THEN 1 WHEN 'addtocart' THEN 5 WHEN 'transaction' THEN 10 ELSE 0 END AS weight,
       (event_type IN ('addtocart', 'transaction'))::INT AS target
FROM starts;

COPY (
    SELECT * EXCLUDE (weight, target) FROM clean ORDER BY ts, user_id, item_id, event_type, source_file, source_row
) TO '{out}/clean_events/dt={day}/data.parquet' (FORMAT parquet, COMPRESSION zstd);

COPY (
    SELECT user_id, item_id, count(*) AS events, sum(target)::BIGINT AS targets, sum(weight)::DOUBLE AS weight,
           max(weight)::DOUBLE AS top_weight, max(ts) AS last_ts
    FROM clean WHERE user_id IS NOT NULL GROUP BY user_id, item_id ORDER BY user_id, item_id
) TO '{out}/user_activity/dt={day}/data.parquet' (FORMAT parquet, COMPRESSION zstd);

CREATE OR REPLACE TEMP TABLE bots AS
WITH rated AS (
    SELECT user_id, count(*) AS events, count(DISTINCT epoch_us(ts) // 1000000) AS moments,
           count(DISTINCT epoch_us(ts) // 60000000) AS minutes, count(DISTINCT epoch_us(ts) // 3600000000) AS hours,
           moments / minutes AS pace
    FROM clean WHERE user_id IS NOT NULL GROUP BY user_id
), typical AS (
    SELECT sum(round(pace * 1048576)::BIGINT)::DOUBLE / count(*) / 1048576 AS typical_pace FROM rated
)
SELECT user_id, CASE WHEN fast THEN 'pace' ELSE 'hours' END AS reason, pace, typical_pace, events, moments, minutes, hours
FROM (SELECT *, moments >= 30 AND pace >= 10 AND pace >= 5 * typical_pace AS fast FROM rated, typical)
WHERE fast OR hours >= 22;

COPY (FROM bots ORDER BY user_id) TO '{out}/bot_users/dt={day}/data.parquet' (FORMAT parquet, COMPRESSION zstd);

CREATE OR REPLACE TEMP VIEW people AS FROM clean ANTI JOIN bots USING (user_id);

COPY (
    SELECT item_id, count(*) AS events, sum(target)::BIGINT AS targets, sum(weight)::DOUBLE AS weight,
           count(DISTINCT user_id) AS users, count(DISTINCT (user_id, session_id)) FILTER (session_id IS NOT NULL) AS sessions,
           max(ts) AS last_ts
    FROM people GROUP BY item_id ORDER BY item_id
) TO '{out}/item_activity/dt={day}/data.parquet' (FORMAT parquet, COMPRESSION zstd);

COPY (
    WITH touched AS (
        SELECT user_id, session_id, item_id, max(ts) AS ts
        FROM people WHERE session_id IS NOT NULL GROUP BY user_id, session_id, item_id
    ), sized AS (
        SELECT user_id, session_id, list(item_id ORDER BY ts DESC, item_id DESC)[:50] AS items
        FROM touched GROUP BY user_id, session_id HAVING count(*) > 1
    ), kept AS (
        SELECT user_id, session_id, unnest(items) AS item_id, round(1048576 / log2(len(items) + 1))::BIGINT AS share
        FROM sized
    )
    SELECT a.item_id, b.item_id AS other_item_id, count(*) AS sessions, sum(a.share)::DOUBLE / 1048576 AS weight
    FROM kept AS a JOIN kept AS b ON a.user_id = b.user_id AND a.session_id = b.session_id AND a.item_id < b.item_id
    GROUP BY a.item_id, b.item_id ORDER BY a.item_id, b.item_id
) TO '{out}/item_pairs/dt={day}/data.parquet' (FORMAT parquet, COMPRESSION zstd);

-- lists
COPY (
    WITH unavailable AS (
        SELECT item_id FROM read_parquet('{data}/item_features/dt={day}/data.parquet') WHERE NOT available
    ), activity AS (
        SELECT * FROM read_parquet('{out}/item_activity/*/data.parquet', hive_partitioning = true)
        WHERE dt > DATE '{day}' - {popular_days} AND item_id NOT IN (FROM unavailable)
    ), popular AS (
        SELECT item_id, sum(weight) AS score FROM activity GROUP BY item_id HAVING sum(weight) > 0
    ), lately AS (
        SELECT item_id,
               sum(round(weight * exp(-ln(2) / {trending_half_life} * (DATE '{day}' - dt)) * 1048576)::BIGINT)::DOUBLE
                   / 1048576 AS score
        FROM activity WHERE dt > DATE '{day}' - {trending_days} GROUP BY item_id HAVING score > 0
    ), segments AS (
        SELECT 'all' AS segment, item_id, score, score AS ever FROM popular
        UNION ALL
        SELECT 'trending', item_id, coalesce(lately.score, 0), popular.score FROM popular LEFT JOIN lately USING (item_id)
        UNION ALL
        SELECT 'category:' || category_id, item_id, score, 0
        FROM popular JOIN read_parquet('{data}/item_features/dt={day}/data.parquet') USING (item_id) WHERE category_id IS NOT NULL
    )
    SELECT segment, item_id, score, row_number() OVER best AS rank, segment = 'all' AS is_fallback FROM segments
    WINDOW best AS (PARTITION BY segment ORDER BY score DESC, ever DESC, item_id)
    QUALIFY rank <= {popular_k}
    ORDER BY segment, rank
) TO '{out}/top_popular/dt={day}/data.parquet' (FORMAT parquet, COMPRESSION zstd);

CREATE TEMP TABLE nearest AS
WITH pairs AS (
    SELECT item_id, other_item_id, sum(weight) AS weight
    FROM read_parquet('{out}/item_pairs/*/data.parquet', hive_partitioning = true)
    WHERE dt > DATE '{day}' - {covisit_days} GROUP BY item_id, other_item_id
), items AS (
    SELECT item_id, sum(sessions)::DOUBLE AS sessions
    FROM read_parquet('{out}/item_activity/*/data.parquet', hive_partitioning = true)
    WHERE dt > DATE '{day}' - {covisit_days} GROUP BY item_id
), scored AS (
    SELECT pairs.item_id, other_item_id, weight / (sqrt(a.sessions * b.sessions) + 5.0) AS score
    FROM pairs JOIN items AS a ON a.item_id = pairs.item_id JOIN items AS b ON b.item_id = other_item_id
), both_ways AS (
    SELECT item_id, other_item_id AS similar_item_id, score FROM scored
    UNION ALL SELECT other_item_id, item_id, score FROM scored
)
SELECT item_id, similar_item_id, score,
       row_number() OVER (PARTITION BY item_id ORDER BY score DESC, similar_item_id) AS rank
FROM both_ways QUALIFY rank <= {similar_k};

COPY (FROM nearest ORDER BY item_id, rank)
TO '{out}/covisited_items/dt={day}/data.parquet' (FORMAT parquet, COMPRESSION zstd);

COPY (
    SELECT item_id, source, similar_item_id, score, rank FROM (
        SELECT item_id, 'covisit' AS source, similar_item_id, score, rank FROM nearest
        UNION ALL
        SELECT item_id, 'fused', similar_item_id, round(1.0 / (60 + rank) * 1048576) / 1048576, rank FROM nearest
    ) ORDER BY item_id, source, rank
) TO '{out}/similar_items/dt={day}/data.parquet' (FORMAT parquet, COMPRESSION zstd);
