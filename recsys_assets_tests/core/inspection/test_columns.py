"""Which columns of real exports are what."""

from __future__ import annotations

import pyarrow as pa
import pytest

from recsys_assets.core.inspection.columns import ColumnFacts, facts_of, nested_facts, roles_of


def facts(**columns: list[str | None]) -> list[ColumnFacts]:
    return [facts_of(name, pa.chunked_array([values], pa.string())) for name, values in columns.items()]


def names(columns: list[ColumnFacts], *, has_names: bool = True, **stated: str) -> dict[str, str]:
    return {role: column.name for role, column in roles_of(columns, stated, has_names=has_names).items()}


SECONDS, MILLIS, MICROS, ISO = "1433221332", "1433221332117", "1433221332117000", "2015-06-02T05:02:12Z"


@pytest.mark.parametrize(
    ("header", "row", "roles"),
    [
        (
            "timestamp,visitorid,event,itemid,transactionid",
            [MILLIS, "257597", "view", "355908", None],
            {"ts": "timestamp", "user_id": "visitorid", "event_type": "event", "item_id": "itemid"}
            | {"order_id": "transactionid"},
        ),
        (
            "userId,movieId,rating,timestamp",
            ["1", "31", "2.5", SECONDS],
            {"user_id": "userId", "item_id": "movieId", "rating": "rating", "ts": "timestamp"},
        ),
        (
            "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
            ["536365", "85123A", "HEART", "6", ISO, "2.55", "17850", "United Kingdom"],
            {"order_id": "InvoiceNo", "item_id": "StockCode", "quantity": "Quantity", "ts": "InvoiceDate"}
            | {"price": "UnitPrice", "user_id": "CustomerID"},
        ),
        (
            "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session",
            [ISO, "view", "44600062", "21", "a.b", "x", "35.79", "541312140", "72d76fde"],
            {"ts": "event_time", "event_type": "event_type", "item_id": "product_id", "category_id": "category_id"}
            | {"price": "price", "user_id": "user_id"},
        ),
        (
            "reviewerID,asin,overall,unixReviewTime,reviewText",
            ["A2SUAM1J3GNN3B", "0000013714", "5.0", SECONDS, "good"],
            {"user_id": "reviewerID", "item_id": "asin", "rating": "overall", "ts": "unixReviewTime"},
        ),
        (
            "user_pseudo_id,event_timestamp,event_name,item_id",
            ["1234.5678", MICROS, "view_item", "SKU_1"],
            {"user_id": "user_pseudo_id", "ts": "event_timestamp", "event_type": "event_name", "item_id": "item_id"},
        ),
        (
            "t_dat,customer_id,article_id,price,sales_channel_id",
            ["2018-09-20", "000058a1", "0663713001", "0.05", "2"],
            {"ts": "t_dat", "user_id": "customer_id", "item_id": "article_id", "price": "price"},
        ),
        (
            "timestamp,itemid,property,value",
            [MILLIS, "460429", "categoryid", "1338"],
            {"ts": "timestamp", "item_id": "itemid", "property": "property", "value": "value"},
        ),
        ("categoryid,parentid", ["1016", "213"], {"category_id": "categoryid", "parent_id": "parentid"}),
    ],
)
def test_columns_of_known_exports_are_found(header: str, row: list[str | None], roles: dict[str, str]) -> None:
    columns = facts(**{name: [value] for name, value in zip(header.split(","), row, strict=True)})
    assert names(columns) == roles


def test_a_column_must_hold_what_its_name_says() -> None:
    columns = facts(user=["1"], item=["2"], time=["noon"], clicked=[SECONDS], price=["cheap"])
    assert names(columns) == {"user_id": "user", "item_id": "item", "ts": "clicked"}


def test_a_person_knows_better() -> None:
    columns = facts(user=["1"], who=["7"], item=["2"], ts=[SECONDS])
    assert names(columns)["user_id"] == "user"
    assert names(columns, user_id="who")["user_id"] == "who"


def test_without_names_the_first_columns_are_users_items_and_ratings() -> None:
    columns = facts(column1=["196"], column2=["242"], column3=["3"], column4=[SECONDS])
    assert names(columns, has_names=False) == {
        "ts": "column4",
        "user_id": "column1",
        "item_id": "column2",
        "rating": "column3",
    }
    assert names(columns) == {"ts": "column4"}


def test_lists_are_nothing() -> None:
    assert names([nested_facts("item", 3), *facts(user=["1"])]) == {"user_id": "user"}


@pytest.mark.parametrize(
    ("values", "whole"),
    [(["1", "-2"], 1.0), (["007", "8"], 0.5), (["7.0", "8"], 0.5), (["9" * 19, "1"], 0.5), ([None, "5"], 1.0)],
)
def test_ids_are_whole_numbers_only_if_nothing_is_lost(values: list[str | None], whole: float) -> None:
    assert facts(id=values)[0].whole == whole


@pytest.mark.parametrize(
    ("values", "forms", "zoned"),
    [
        ([SECONDS], ("s",), False),
        ([MILLIS], ("ms",), False),
        ([MICROS], ("us",), False),
        ([f"{MICROS}000"], ("ns",), False),
        ([ISO, "20150602T050212Z", "2015-06-02 05:02:12+00"], ("iso",), True),
        (["2015-06-02 05:02:12 UTC", "2015-06-02 05:02:12"], ("iso",), False),
        (["31.12.2024 23:59:59", "01.02.2025 00:00:00"], ("dd.mm.yyyy hh:mm:ss",), False),
        (["12/31/2024 23:59", "1/2/2025 8:26"], ("mm/dd/yyyy hh:mm",), False),
        (["31/12/2024 23:59", "1/2/2025 8:26"], ("dd/mm/yyyy hh:mm",), False),
        (["1/2/2025 8:26", "3/4/2025 8:26"], ("mm/dd/yyyy hh:mm", "dd/mm/yyyy hh:mm"), False),
        (["17", "18"], (), False),
        (["noon"], (), False),
    ],
)
def test_forms_of_times_are_told_and_both_where_both_fit(
    values: list[str | None], forms: tuple[str, ...], zoned: bool
) -> None:
    column = facts(when=values)[0]
    assert (column.times, column.zoned) == (forms, zoned)


@pytest.mark.parametrize(
    ("values", "decimal", "thousands"),
    [
        (["1.5", "1200"], ".", ""),
        (["1,200.50", "3"], ".", ","),
        (["1.200,50", "3,99"], ",", "."),
        (["3,99 €", "EUR 12"], ",", "."),
    ],
)
def test_forms_of_numbers_are_told(values: list[str | None], decimal: str, thousands: str) -> None:
    numbers = facts(price=values)[0].numbers
    assert numbers is not None
    assert (numbers.decimal, numbers.thousands) == (decimal, thousands)
