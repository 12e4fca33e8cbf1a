"""Words by which columns, properties and types of events are known, in English, German, French and Spanish.

All in lower case; names of columns and properties without accents and signs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from recsys_assets.core.file_specs import AvailabilityWords

NAMES: Mapping[str, str] = {
    "user_id": "user userid visitor visitorid customer customerid client clientid member memberid account accountid "
    "profileid uid userpseudoid fullvisitorid anonymousid steamid reviewerid shopper shopperid buyer buyerid personid "
    "consumerid kunde kundennr kundennummer kundenid benutzer benutzerid nutzer nutzerid utilisateur cliente clienteid "
    "usuario idclient idcliente idusuario sessionid session",
    "item_id": "item itemid product productid article articleid movie movieid film filmid song songid track trackid "
    "book bookid isbn sku stockcode asin content contentid news newsid ad adid offer offerid business businessid game "
    "gameid appid artist artistid parentasin good goodid goodsid clickarticleid recipe recipeid anime animeid venueid "
    "placeid locationid artikel artikelnr artikelnummer artikelid produkt produktnr produktid produit idproduit "
    "producto idproducto articulo idarticulo",
    "ts": "ts timestamp time datetime date eventtime eventdate eventtimestamp createdat created occurredat happenedat "
    "invoicedate orderdate purchasedate clicktimestamp servertime loggedat unixtime unixreviewtime at zeit zeitpunkt "
    "zeitstempel datum heure horodatage fecha hora",
    "event_type": "event eventtype eventname type action actiontype behavior behaviour behaviortype interaction "
    "interactiontype activity kind aktion ereignis evenement evento accion",
    "order_id": "order orderid transaction transactionid invoice invoiceno invoiceid basket basketid receipt receiptid "
    "checkoutid bestellung bestellnr bestellnummer auftragsnr commande pedido",
    "quantity": "quantity qty units count menge anzahl stuck quantite cantidad",
    "price": "price unitprice itemprice preis einzelpreis prix precio",
    "rating": "rating ratings stars score overall bewertung note",
    "property": "property attribute feature field",
    "value": "value",
    "category_id": "category categoryid kategorie warengruppe categorie categoria",
    "parent_id": "parent parentid parentcategory parentcategoryid",
}
"""Names of columns in exports, by what the platform calls them."""

TARGETS = "purchase buy bought transaction order checkout sale paid payment kauf bestell achat commande compra pedido"
"""Parts of the names of event types that recommendations should bring about."""
STRONG = (
    "cart basket add like favorite favourite wish save share subscribe complete korb merk wunsch panier favori carrito "
    "cesta"
)
"""Parts of the names of event types that say more than a look."""
ACTIONS = (
    "view click cart basket buy purchase order transaction play like detail ansicht klick korb kauf bestell merk vue "
    "panier achat vista carrito compra"
)
"""Parts of the names of event types by which a column of them is found whatever its name."""

PROPERTIES: Mapping[str, str] = {
    "category": "category categoryid cat kategorie warengruppe categorie categoria",
    "available": "available availability instock stock lieferbar verfugbar disponible",
    "price": "price preis prix precio",
    "brand": "brand manufacturer marke hersteller marque marca",
    "title": "title name itemname productname titel bezeichnung titre nom titulo nombre",
}
"""Names of properties of items, by what the platform calls them."""

AVAILABILITY = AvailabilityWords(
    available=("ja", "lieferbar", "verfügbar", "auf lager", "vorrätig", "oui", "en stock", "disponible", "sí", "si"),
    unavailable=(
        *("nein", "nicht lieferbar", "nicht verfügbar", "ausverkauft", "vergriffen", "non", "épuisé", "indisponible"),
        *("rupture de stock", "agotado", "no disponible", "sin existencias"),
    ),
)
"""What values of availability mean in other languages; English words are known to every data set."""


def has_part(name: str, parts: str) -> bool:
    """Whether one of some parts, separated by blanks, is in the name of an event type."""
    return any(part in name.lower() for part in parts.split())


def plain_name(name: str) -> str:
    """A name in lower case, without accents and signs."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return re.sub(r"[^a-z0-9]", "", letters)
