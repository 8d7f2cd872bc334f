#!/usr/bin/env python3
"""A second reader of the vectors: written from docs/protocol.md alone, with nothing but Python's standard library.

It knows the encoding, labels and hashes, Ed25519, ids, Kademlia keys and records and which of two stands, message ids, the chains of feeds and
identity logs, the kinds of content with their bounds, wishes to leave, handles, recovery codes, safety numbers, sign-in, Hello and sealed files. It cannot open MLS or other sealed bytes, nor play a home; such files it
passes over, and says how many.
"""

import hashlib
import hmac
import json
import pathlib
import re
import sys
import unicodedata
import zlib

HERE = pathlib.Path(__file__).resolve().parent


class Refused(Exception):
    """A value that must be refused, by its cause."""


# --- Encoding -------------------------------------------------------------------------------------------------------

def unhex(text):
    parts = re.split(r"\(([0-9a-f]{2})\*(\d+)\)", text)
    out = bytes.fromhex(parts[0])
    for byte, times, tail in zip(parts[1::3], parts[2::3], parts[3::3]):
        out += bytes.fromhex(byte) * int(times) + bytes.fromhex(tail)
    return out


def head(major, number):
    for size, code in ((1, 24), (2, 25), (4, 26), (8, 27)):
        if number < 24:
            return bytes([major << 5 | number])
        if number < 1 << 8 * size:
            return bytes([major << 5 | code]) + number.to_bytes(size, "big")
    raise ValueError(number)


def encode(value):
    """The one spelling: shortest lengths, definite, fields in the order given."""
    if value is None:
        return b"\xf6"
    if value is True or value is False:
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(encode, value))
    return head(5, len(value)) + b"".join(encode(key) + encode(item) for key, item in value.items())


def decode(data, most):
    if len(data) > most:
        raise Refused("too_long")

    def item(at, depth):
        if depth > 32 or at >= len(data):
            raise Refused("malformed")
        major, low = data[at] >> 5, data[at] & 31
        at += 1
        if major == 7:
            if low in (20, 21, 22):
                return (False, True, None)[low - 20], at
            raise Refused("malformed")
        if low == 31 and major in (4, 5):
            out, count = [], None
        else:
            if low < 24:
                count = low
            elif low <= 27:
                size = 1 << low - 24
                if at + size > len(data):
                    raise Refused("malformed")
                count, at = int.from_bytes(data[at:at + size], "big"), at + size
            else:
                raise Refused("malformed")
        if major == 0:
            return count, at
        if major in (2, 3):
            if at + count > len(data):
                raise Refused("malformed")
            raw, at = data[at:at + count], at + count
            try:
                return (raw if major == 2 else raw.decode()), at
            except UnicodeDecodeError:
                raise Refused("malformed") from None
        if major not in (4, 5):
            raise Refused("malformed")
        out = []
        while (count is None and at < len(data) and data[at] != 0xFF) or (count is not None and len(out) < count):
            first, at = item(at, depth + 1)
            if major == 5:
                second, at = item(at, depth + 1)
                first = (first, second)
            out.append(first)
        if count is None:
            if at >= len(data):
                raise Refused("malformed")
            at += 1
        if major == 4:
            return out, at
        if any(not isinstance(key, str) for key, _ in out) or len({key for key, _ in out}) < len(out):
            raise Refused("malformed")
        return dict(out), at

    value, at = item(0, 1)
    if at < len(data):
        raise Refused("trailing")
    return value


def struct(value, fields):
    """A map with these fields, each of its type, in this order and no others: the canonical reading."""
    if not isinstance(value, dict):
        raise Refused("malformed")
    ordered = {}
    for name, kind in fields.items():
        if name not in value:
            raise Refused("malformed")
        ordered[name] = kind(value[name])
    if list(value) != list(ordered):
        raise Refused("not_canonical")
    return ordered


def of(kind, length=None):
    def check(value):
        if kind is int and isinstance(value, bool) or not isinstance(value, kind):
            # A byte string in its JSON spelling is understood, and is not the canonical one.
            raise Refused("not_canonical" if kind is bytes and isinstance(value, str) else "malformed")
        if length is not None and len(value) != length:
            raise Refused("malformed")
        return value
    return check


def array(kind):
    return lambda value: [kind(item) for item in of(list)(value)]


def optional(kind):
    return lambda value: None if value is None else kind(value)


def nested(fields):
    return lambda value: struct(value, fields)


def canonical(data, most, kind):
    value = kind(decode(data, most))
    if encode(value) != data:
        raise Refused("not_canonical")
    return value


number, text, id32, id16 = of(int), of(str), of(bytes, 32), of(bytes, 16)
SIGNED = nested({"bytes": of(bytes), "signature": of(bytes, 64)})
HANDLE_RECORD = nested({"root": id32, "handle": text, "account": id32, "seq": number, "expires": number})
LOG_HEAD = nested({"seq": number, "hash": id32})
FEED = nested({"group": id32, "node": id32, "incarnation": id16})
FEED_HEAD = nested({"feed": FEED, "seq": number, "hash": id32})
CONTENT = nested({
    "salt": of(bytes), "body": nested({"kind": text, "value": of(bytes)}), "seen": array(FEED_HEAD), "log": LOG_HEAD,
})
HEADER = nested({
    "feed": FEED, "seq": number, "prev": id32, "kind": text, "epoch": number, "account": id32, "device": id32,
    "message": id16, "attempt": number, "payload_hash": id32,
})
ENTRY = nested({"header": HEADER, "payload": of(bytes)})


# --- Ed25519 (RFC 8032, section 6), verified strictly ------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def add(one, other):
    a, b = (one[1] - one[0]) * (other[1] - other[0]) % P, (one[1] + one[0]) * (other[1] + other[0]) % P
    c, d = 2 * one[3] * other[3] * D % P, 2 * one[2] * other[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(scalar, point):
    out = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            out = add(out, point)
        point, scalar = add(point, point), scalar >> 1
    return out


def same(one, other):
    return (one[0] * other[2] - other[0] * one[2]) % P == 0 and (one[1] * other[2] - other[1] * one[2]) % P == 0


def point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def verify(key, label, message, signature):
    public, first, scalar = point(key), point(signature[:32]), int.from_bytes(signature[32:], "little")
    if public is None or first is None or scalar >= ORDER:
        raise Refused("signature")
    if any(same(times(8, part), (0, 1, 1, 0)) for part in (public, first)):
        raise Refused("signature")
    signed = label.encode() + b"\0" + message
    digest = int.from_bytes(hashlib.sha512(signature[:32] + key + signed).digest(), "little") % ORDER
    if not same(times(scalar, BASE), add(first, times(digest, public))):
        raise Refused("signature")


def open_signed(signed, label, key, most, kind):
    """Verify, then parse."""
    if len(signed["bytes"]) > most:
        raise Refused("too_long")
    verify(key, label, signed["bytes"], signed["signature"])
    return canonical(signed["bytes"], most, kind)


# --- Labels, keys and ids -------------------------------------------------------------------------------------------

def roost_hash(label, *parts):
    data = b"".join(len(part).to_bytes(8, "big") + part for part in (label.encode(), *parts))
    return hashlib.sha256(data).digest()


def hash_vector(given):
    parts = [unhex(part) for part in given["parts"]]
    signed = given["label"].encode() + b"\0" + parts[0]
    return {"hash": roost_hash(given["label"], *parts).hex(), "signed": signed.hex()}


BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def peer_id_bytes(key):
    return bytes.fromhex("002408011220") + key


def base58(data):
    value, out = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        out = BASE58[digit] + out
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + out


def peer_id(given):
    value = 0
    for letter in given["text"]:
        if letter not in BASE58:
            raise Refused("peer_id")
        value = value * 58 + BASE58.index(letter)
    zeros = len(given["text"]) - len(given["text"].lstrip("1"))
    data = bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big")
    if len(data) != 38 or data[:6] != peer_id_bytes(b""):
        raise Refused("peer_id")
    return {"key": data[6:].hex()}


def message_id(at_ms, content):
    return at_ms.to_bytes(6, "big") + roost_hash("roost/1/message-id", content)[:10]


def payload_hash(payload):
    return roost_hash("roost/1/entry", b"payload", payload)


def ids(given):
    key, other, content = unhex(given["key"]), unhex(given["other_account"]), unhex(given["content"])
    account, org = roost_hash("roost/1/account-id", key), roost_hash("roost/1/org-id", key)
    local = given["handle"].split("@")[0].encode()
    return {
        "account": account.hex(),
        "device": roost_hash("roost/1/device-id", key).hex(),
        "org": org.hex(),
        "peer_id": base58(peer_id_bytes(key)),
        "peer_id_bytes": peer_id_bytes(key).hex(),
        "conversation": roost_hash("roost/1/direct-conversation", *sorted([account, other])).hex(),
        "message": message_id(given["at_ms"], content).hex(),
        "payload_hash": payload_hash(content).hex(),
        "account_key": (b"/roost-account/" + account).hex(),
        "org_key": (b"/roost-org/" + org).hex(),
        "handle_key": (b"/roost-handle/" + roost_hash("roost/1/handle-key", org, local)).hex(),
        "name_key": (b"/roost-name/" + roost_hash("roost/1/name-key", given["name"].encode())).hex(),
    }


def typed(given):
    kinds = {"Signed": SIGNED, "HandleRecord": HANDLE_RECORD, "Entry": ENTRY}
    if given["type"] not in kinds:
        return None
    canonical(unhex(given["bytes"]), given["max"], kinds[given["type"]])
    return ...


# --- Handles, recovery codes, safety numbers ------------------------------------------------------------------------

def half(part, most, cause):
    if not 1 <= len(part.encode()) <= most:
        raise Refused(cause)
    if not re.fullmatch(r"[a-z0-9._-]+", part):
        raise Refused("character")
    if part[0] in "._-" or part[-1] in "._-":
        raise Refused("edge")


def handle(given):
    if "@" not in given["text"]:
        raise Refused("no_at")
    local, org = given["text"].split("@", 1)
    half(local, 32, "local_length")
    half(org, 64, "org_name_length")
    return {"local": local, "org": org, "org_is_name": True}


CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def derive(secret, label):
    key = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(key, label.encode() + b"\x01", hashlib.sha256).digest()


def recovery_code(given):
    typed_in = re.sub(r"[\s-]", "", given["text"]).upper().replace("O", "0").replace("I", "1").replace("L", "1")
    if len(typed_in) != 32:
        raise Refused("length")
    value = 0
    for letter in typed_in:
        if letter not in CROCKFORD:
            raise Refused("character")
        value = value << 5 | CROCKFORD.index(letter)
    data = value.to_bytes(20, "big")
    if zlib.crc32(data[:16]).to_bytes(4, "big") != data[16:]:
        raise Refused("checksum")
    return {
        "text": "-".join(typed_in[at:at + 4] for at in range(0, 32, 4)),
        "root_seed": derive(data[:16], "roost/1/derive/account-key").hex(),
        "archive_key": derive(data[:16], "roost/1/derive/archive-key").hex(),
        "root": ...,
    }


def side(key):
    digest = hashlib.sha512(b"roost/1/safety-number\0" + key).digest()
    for _ in range(5200):
        digest = hashlib.sha512(digest + key).digest()
    return "".join(f"{int.from_bytes(digest[at:at + 5], 'big') % 100000:05}" for at in range(0, 30, 5))


def safety_number(given):
    digits = "".join(sorted([side(unhex(given["one"])), side(unhex(given["other"]))]))
    return {"shown": " ".join(digits[at:at + 5] for at in range(0, 60, 5))}


# --- Chains: identity logs, feeds, content --------------------------------------------------------------------------

OPERATIONS = {
    "genesis": nested({"root": id32, "device": id32, "homes": array(id32)}),
    "add_device": nested({"device": id32}),
    "revoke_device": nested({"device": id32}),
    "set_homes": nested({"homes": array(id32)}),
    "set_handle": nested({"handle": text, "org": id32}),
    "reset": nested({
        "root": id32, "count": number, "devices": array(id32), "homes": array(id32),
        "handle": optional(nested({"handle": text, "org": id32})),
    }),
}


LOG_LABEL = "roost/1/sign/identity-log-entry"


def signer(value):
    if value == "root":
        return value
    return struct(value, {"device": id32})


def operation(value):
    if not isinstance(value, dict) or len(value) != 1:
        raise Refused("malformed")
    (name, content), = value.items()
    if name not in OPERATIONS:
        raise Refused("malformed")
    return {name: OPERATIONS[name](content)}


LOG_ENTRY = nested({"seq": number, "prev": id32, "signer": signer, "op": operation})


def log_entry(signed):
    try:
        return canonical(signed["bytes"], 4096, LOG_ENTRY)
    except Refused as refused:
        raise Refused(f"entry_{refused}") from None


def homes_fit(homes):
    if not 1 <= len(homes) <= 2:
        raise Refused("homes_count")
    if len(homes) == 2:
        raise Refused("homes_repeated" if homes[0] == homes[1] else "homes_unsupported")


def identity_log(given):
    return read_log(unhex(given["log"]))


def read_log(data):
    log = canonical(data, 4096, array(SIGNED))
    if not log:
        raise Refused("empty")
    devices, former, root, prev, homes, claimed, count, first = {}, set(), None, bytes(32), [], None, 0, 0

    def admit(key, seq):
        name = roost_hash("roost/1/device-id", key)
        if key == root:
            raise Refused("device_is_root")
        if name in devices or name in former:
            raise Refused("device_repeated")
        devices[name] = (key, seq)
        if len(devices) > 5:
            raise Refused("device_count")

    for at, signed in enumerate(log):
        entry = log_entry(signed)
        (name, content), = entry["op"].items()
        by = entry["signer"]
        if at == 0 and name not in ("genesis", "reset"):
            raise Refused("genesis_missing")
        if at == 0 and by != "root":
            raise Refused(f"{name}_signer")
        if by != "root" and by["device"] not in devices:
            raise Refused("signer_not_active")
        named = content["root"] if at == 0 else root
        verify(named if by == "root" else devices[by["device"]][0], LOG_LABEL, signed["bytes"], signed["signature"])
        if at == 0:
            first = entry["seq"] if name == "reset" else 0
        seq = first + at
        if entry["seq"] != seq:
            raise Refused("seq")
        if entry["prev"] != prev:
            raise Refused("prev")
        if name in ("genesis", "reset"):
            if at:
                raise Refused(f"{name}_repeated")
            if name == "reset":
                count = content["count"]
                if not 1 <= count < 1 << 32 or not 1 <= seq < 1 << 32:
                    raise Refused("reset_number")
            homes_fit(content["homes"])
            root, homes = content["root"], content["homes"]
            for key in [content["device"]] if name == "genesis" else content["devices"]:
                admit(key, seq)
            if name == "reset" and content["handle"] is not None:
                handle({"text": content["handle"]["handle"]})
                claimed = {"handle": content["handle"]["handle"], "org": content["handle"]["org"].hex()}
        elif name == "set_homes":
            homes_fit(content["homes"])
            homes = content["homes"]
        elif name == "set_handle":
            handle({"text": content["handle"]})
            claimed = {"handle": content["handle"], "org": content["org"].hex()}
        elif name == "add_device":
            admit(content["device"], seq)
        else:
            if content["device"] not in devices:
                raise Refused("device_not_active")
            if len(devices) == 1 and by != "root":
                raise Refused("last_device")
            del devices[content["device"]]
            former.add(content["device"])
        prev = roost_hash("roost/1/identity-log-entry", signed["bytes"])
    return {
        "account": roost_hash("roost/1/account-id", root).hex(),
        "root": root.hex(),
        "devices": [{"device": name.hex(), "key": key.hex(), "log_seq": at} for name, (key, at) in sorted(devices.items())],
        "homes": [home.hex() for home in homes],
        "handle": claimed,
        "head": {"seq": first + len(log) - 1, "hash": prev.hex()},
        "count": count,
    }


def two_logs(given):
    held, offered = (canonical(unhex(given[part]), 4096, array(SIGNED)) for part in ("held", "offered"))
    ours, theirs = (identity_log({"log": given[part]}) for part in ("held", "offered"))
    if ours["account"] != theirs["account"]:
        raise Refused("other_account")
    if ours["count"] != theirs["count"]:
        relation = "reset" if ours["count"] < theirs["count"] else "behind"
    elif any(one["bytes"] != other["bytes"] for one, other in zip(held, offered)):
        raise Refused("branched")
    else:
        relation = "same" if len(held) == len(offered) else "extended" if len(held) < len(offered) else "behind"
    return {"relation": relation, "kept": (theirs if relation in ("extended", "reset") else ours)["head"]}


def entry_vector(given):
    data = unhex(given["entry"])
    entry = canonical(data, 1 << 20, ENTRY)
    check_entry(entry)
    return {"header": ..., "hash": roost_hash("roost/1/entry", b"header", encode(entry["header"])).hex()}


def check_entry(entry):
    header, most = entry["header"], {"message": 24 * 1024, "creation": 96 * 1024}
    if len(entry["payload"]) > most[header["kind"]]:
        raise Refused("too_large")
    if header["seq"] == 0:
        raise Refused("seq_zero")
    if payload_hash(entry["payload"]) != header["payload_hash"]:
        raise Refused("payload_hash")


def entries_vector(given):
    if not re.fullmatch(r"/roost/entries/1/[0-9a-f]{32}", given["topic"]):
        raise Refused("topic")
    entries = canonical(unhex(given["data"]), 28 * 1024, nested({"entries": array(ENTRY)}))["entries"]
    if not 1 <= len(entries) <= 64:
        raise Refused("count")
    for entry in entries:
        if entry["header"]["kind"] != "message":
            raise Refused("kind")
        check_entry(entry)
    for one, other in zip(entries, entries[1:]):
        before, after = one["header"], other["header"]
        follows = after["seq"] == before["seq"] + 1 and after["prev"] == roost_hash("roost/1/entry", b"header", encode(before))
        if after["feed"] != before["feed"] or not follows:
            raise Refused("apart")
    feed = entries[0]["header"]["feed"]
    if feed["node"] != unhex(given["source"]):
        raise Refused("foreign")
    topic = roost_hash("roost/1/entries-topic", feed["group"], unhex(given["made_by"]))[:16].hex()
    return {"group": feed["group"].hex(), "seqs": [entry["header"]["seq"] for entry in entries], "topic": "/roost/entries/1/" + topic}


def bounded(words, most):
    if len(words.encode()) > most:
        raise Refused("too_long")


def within(count, most):
    if not 1 <= count <= most:
        raise Refused("malformed")


def visible(words):
    if any(unicodedata.category(letter) == "Cc" for letter in words):
        raise Refused("malformed")


def rich_text(value):
    bounded(value["text"], 16 * 1024)
    named, timer = value["mentions"], value["expires_after_s"]
    if value["reply"] is None and not named and timer is None:
        raise Refused("malformed")
    if len(named) > 100 or any(one >= following for one, following in zip(named, named[1:])):
        raise Refused("malformed")
    if timer is not None:
        within(timer, 31_536_000)


def cluster(emoji):
    """Whether it may be one visible grapheme cluster: as far as that can be told without the tables of Unicode."""
    joined = False
    for at, letter in enumerate(emoji):
        if unicodedata.category(letter) in ("Cc", "Zs") or letter.isspace():
            return False
        extends = unicodedata.category(letter) in ("Mn", "Me", "Cf") or 0x1F3FB <= ord(letter) <= 0x1F3FF
        if at and not extends and not joined:
            return False
        joined = letter == "\u200d"
    return bool(emoji)


def reaction(value):
    bounded(value["emoji"], 64)
    if not cluster(value["emoji"]):
        raise Refused("malformed")


def profile(value):
    bounded(value["name"], 128)
    visible(value["name"])


def about(value):
    bounded(value["title"], 128)
    bounded(value["description"], 2048)
    visible(value["title"])


def about_picture(value):
    picture = value["picture"]
    if picture is not None and len(picture) > 16 * 1024:
        raise Refused("too_long")
    begins = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
    if picture is not None and not picture.startswith(begins) and picture[:4] + picture[8:12] != b"RIFFWEBP":
        raise Refused("malformed")


def timer(value):
    if value["expires_after_s"] is not None:
        within(value["expires_after_s"], 31_536_000)


def said_file(value):
    name, thumbnail, size = value["name"], value["thumbnail"], value["dimensions"]
    bounded(name, 255)
    if name in ("", ".", "..") or any(letter in "/\\" for letter in name):
        raise Refused("malformed")
    visible(name)
    if len(value["media_type"]) > 127 or not re.fullmatch(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*", value["media_type"]):
        raise Refused("malformed")
    if value["size"] > 104_857_600 or len(value["key"]) != 32:
        raise Refused("malformed")
    if thumbnail is not None:
        if len(thumbnail) > 8 * 1024:
            raise Refused("too_long")
        about_picture({"picture": thumbnail})
    if size is not None and 0 in (size["width"], size["height"]):
        raise Refused("malformed")
    bounded(value["caption"], 4 * 1024)
    rich_text({"text": "", "reply": b"", "mentions": value["mentions"], "expires_after_s": value["expires_after_s"]})


NOTHING_MORE = lambda value: None
KINDS = {
    "text": (text, lambda value: bounded(value, 16 * 1024)),
    "delivered": (array(id16), NOTHING_MORE),
    "rich_text": (nested({
        "text": text, "reply": optional(id16), "mentions": array(id32), "expires_after_s": optional(number),
    }), rich_text),
    "file": (nested({
        "name": text, "media_type": text, "size": number, "blob": id32, "key": of(bytes), "thumbnail": optional(of(bytes)),
        "dimensions": optional(nested({"width": number, "height": number})), "duration_ms": optional(number), "caption": text,
        "reply": optional(id16), "mentions": array(id32), "expires_after_s": optional(number),
    }), said_file),
    "reaction": (nested({"message": id16, "emoji": text, "remove": of(bool)}), reaction),
    "edit": (nested({"message": id16, "text": text}), lambda value: bounded(value["text"], 16 * 1024)),
    "delete": (nested({"message": id16}), NOTHING_MORE),
    "read": (nested({"messages": array(id16)}), lambda value: within(len(value["messages"]), 256)),
    "profile": (nested({"name": text}), profile),
    "about": (nested({"title": text, "description": text, "changed_at": number}), about),
    "about_picture": (nested({"picture": optional(of(bytes)), "changed_at": number}), about_picture),
    "timer": (nested({"expires_after_s": optional(number), "changed_at": number}), timer),
    "leave": (SIGNED, NOTHING_MORE),
}


def content_vector(given):
    data, named = unhex(given["content"]), unhex(given["message"])
    content = canonical(data, 24 * 1024, CONTENT)
    body = content["body"]
    if body["kind"] in KINDS:
        kind, check = KINDS[body["kind"]]
        # Within another value every cause of reading is one.
        try:
            value = canonical(body["value"], 24 * 1024, kind)
        except Refused:
            raise Refused("malformed") from None
        check(value)
    at_ms = int.from_bytes(named[:6], "big")
    if message_id(at_ms, data) != named:
        raise Refused("message_id")
    return {"at_ms": at_ms, "kind": body["kind"], "content": ...}


LEAVE = nested({"conversation": id32, "generation": number, "account": id32, "epoch": number, "device": id32})


def leave(given):
    signed, log = canonical(unhex(given["leave"]), 4096, SIGNED), identity_log(given)
    wish = canonical(signed["bytes"], 4096, LEAVE)
    keys = {device["device"]: unhex(device["key"]) for device in log["devices"]}
    key = keys.get(wish["device"].hex())
    if key is None or log["account"] != wish["account"].hex():
        raise Refused("signature")
    verify(key, "roost/1/sign/leave", signed["bytes"], signed["signature"])
    return {name: item if isinstance(item, int) else item.hex() for name, item in wish.items()}


def state_of_presence(value):
    if value not in ("away", "online"):
        raise Refused("malformed")
    return value


WHISPER = nested({"sent_at": number, "kind": text, "value": of(bytes)})
WHISPERS = {
    "typing": nested({"on": of(bool)}),
    "watch": nested({}),
    "presence": nested({"state": state_of_presence, "valid_s": number, "last_active_at_s": number}),
}


def whisper(given):
    said = canonical(unhex(given["content"]), 256, WHISPER)
    if said["kind"] in WHISPERS:
        canonical(said["value"], 256, WHISPERS[said["kind"]])
    return {"sent_at": said["sent_at"], "kind": said["kind"]}


def exchange(given):
    data = unhex(given["bytes"])
    length = int.from_bytes(data[:4], "big")
    if length > 1 << 20:
        raise Refused("too_long")
    if len(data) - 4 < length:
        raise Refused("short")
    request = decode(data[4:4 + length], 1 << 20)
    if list(request) != ["log"]:
        raise Refused("malformed")
    return {"log": {"account": request["log"]["account"].hex()}}


# --- Directory records, sign-in, Hello ------------------------------------------------------------------------------

ADDRESS = nested({"node": id32, "addrs": array(of(bytes)), "web": text, "region": text, "weight": number})
ORG_RECORD = nested({"root": id32, "name": text, "nodes": array(ADDRESS), "seq": number, "expires": number})
SIGNED_ORG = nested({"record": SIGNED, "countersignatures": array(of(bytes, 64))})
NAME_CLAIM = nested({"root": id32, "name": text, "seq": number, "expires": number})
SKEW, LIFE = 300, 30 * 24 * 3600


def life(record, now):
    if record["seq"] == 0:
        raise Refused("seq_zero")
    if record["expires"] + SKEW < now:
        raise Refused("expired")
    if record["expires"] > now + LIFE + SKEW:
        raise Refused("lives_too_long")


def name_of_org(name):
    try:
        half(name, 64, "name")
    except Refused:
        raise Refused("name") from None


def handle_record(signed, now):
    claimed = canonical(signed["bytes"], 4096, HANDLE_RECORD)
    try:
        handle({"text": claimed["handle"]})
    except Refused:
        raise Refused("malformed") from None
    open_signed(signed, "roost/1/sign/handle-record", claimed["root"], 4096, HANDLE_RECORD)
    life(claimed, now)
    return claimed


def org_record(value, now):
    label, signed = "roost/1/sign/org-record", value["record"]
    record = canonical(signed["bytes"], 4096, ORG_RECORD)
    verify(record["root"], label, signed["bytes"], signed["signature"])
    name_of_org(record["name"])
    if not 1 <= len(record["nodes"]) <= 8 or len(value["countersignatures"]) != len(record["nodes"]):
        raise Refused("count")
    if any(len(node["addrs"]) > 8 for node in record["nodes"]):
        raise Refused("count")
    for node, signature in zip(record["nodes"], value["countersignatures"]):
        verify(node["node"], label, signed["bytes"], signature)
    life(record, now)
    return record


def name_claims(values, now):
    if not 1 <= len(values) <= 4:
        raise Refused("count")
    valid = {}
    for signed in values:
        claim = canonical(signed["bytes"], 4096, NAME_CLAIM)
        verify(claim["root"], "roost/1/sign/name-claim", signed["bytes"], signed["signature"])
        name_of_org(claim["name"])
        try:
            life(claim, now)
        except Refused as refused:
            if str(refused) != "expired":
                raise
            continue
        org = roost_hash("roost/1/org-id", claim["root"])
        if org in valid:
            raise Refused("count")
        valid[org] = (claim, signed)
    if not valid:
        raise Refused("expired")
    return valid


def read_record(key, data, now):
    """The kind of a record, and what it says."""
    found = re.fullmatch(rb"/roost-(account|handle|org|name)/(.{32})", key, re.DOTALL)
    if not found:
        raise Refused("key")
    kind, place = found[1].decode(), found[2]
    if len(data) > 4096:
        raise Refused("too_long")
    if kind == "account":
        value = read_log(data)
        at = bytes.fromhex(value["account"])
    elif kind == "handle":
        value = handle_record(canonical(data, 4096, SIGNED), now)
        org = roost_hash("roost/1/org-id", value["root"])
        at = roost_hash("roost/1/handle-key", org, value["handle"].split("@")[0].encode())
    elif kind == "org":
        value = org_record(canonical(data, 4096, SIGNED_ORG), now)
        at = roost_hash("roost/1/org-id", value["root"])
    else:
        value = name_claims(canonical(data, 4096, array(SIGNED)), now)
        places = {roost_hash("roost/1/name-key", claim["name"].encode()) for claim, _ in value.values()}
        at = places.pop() if len(places) == 1 else None
    if at != place:
        raise Refused("other_key")
    return kind, value


def record_vector(given):
    kind, value = read_record(unhex(given["key"]), unhex(given["value"]), given["now_s"])
    return {kind: value if kind == "account" else ...}


def select(given):
    key, held, offered = unhex(given["key"]), unhex(given["held"]), unhex(given["offered"])
    (kind, ours), (_, theirs) = (read_record(key, data, given["now_s"]) for data in (held, offered))
    if held == offered:
        return {"stands": "equal"}
    if kind == "account":
        found = two_logs(given)["relation"]
        if found == "behind":
            raise Refused("older")
        return {"stands": "offered"}
    if kind == "name":
        merged = dict(ours)
        for org, (claim, signed) in theirs.items():
            rank = (claim["seq"], claim["expires"])
            if org in merged and rank > (merged[org][0]["seq"], merged[org][0]["expires"]) or org not in merged and len(merged) < 4:
                merged[org] = (claim, signed)
        data = encode([signed for _, (_, signed) in sorted(merged.items())])
        if data == held:
            raise Refused("older")
        return {"stands": "offered"} if data == offered else {"stands": "merged", "value": ...}
    newer = (theirs["seq"], theirs["expires"]), (ours["seq"], ours["expires"])
    if newer[0] < newer[1] or newer[0] == newer[1] and offered > held:
        raise Refused("older")
    return {"stands": "offered"}


def signed_vector(given):
    key, signed = unhex(given["signed"]["key"]), canonical(unhex(given["signed"]["value"]), 4096, SIGNED)
    return {"text": open_signed(signed, given["label"], key, given["max"], text)}


def sign_in(given):
    message = encode([unhex(given[part]) for part in ("node", "challenge", "account", "device")])
    try:
        verify(unhex(given["device_key"]), "roost/1/sign/sign-in", message, unhex(given["signature"]))
    except Refused:
        raise Refused("bad_sign_in") from None
    return {"signed_in": True}


def hello(given):
    value = decode(unhex(given["hello"]), 1 << 20)
    if 1 not in value["versions"]:
        raise Refused("version")
    try:
        record = org_record(value["org"], given["now_s"])
    except Refused:
        raise Refused("malformed") from None
    if unhex(given["peer"]) not in [node["node"] for node in record["nodes"]]:
        raise Refused("malformed")
    return {"org": ...}


PARTICIPANT = nested({"account": id32, "role": text})
STATE = nested({
    "conversation": id32, "generation": number, "term": number, "hub": id32, "successors": array(id32), "participants": array(PARTICIPANT),
    "policy": text,
})
HEAD_FIELDS = {"group": id32, "state": STATE, "epoch": number, "made_by": id32}


def HEAD(value):
    """The last field stands only where another than the hub has ordered the epoch."""
    moves = isinstance(value, dict) and "ordered_by" in value
    return struct(value, HEAD_FIELDS | ({"ordered_by": id32} if moves else {}))


def orderer(head):
    return head.get("ordered_by", head["state"]["hub"])


def open_head(part):
    signed = canonical(unhex(part), 32 * 1024, SIGNED)
    claimed = canonical(signed["bytes"], 16 * 1024, HEAD)
    if claimed.get("ordered_by") == claimed["state"]["hub"] or claimed["epoch"] >> 32 != claimed["state"]["term"]:
        raise Refused("signature")
    return open_signed(signed, "roost/1/sign/conversation-head", orderer(claimed), 16 * 1024, HEAD)


def head_vector(given):
    open_head(given["head"])
    return ...


def succeeding(epoch):
    """The next MLS epoch, in the next term."""
    return ((epoch >> 32) + 1 << 32) + (epoch % 2**32) + 1


def check_succession(fork, head):
    if fork["group"] != head["group"]:
        raise Refused("other_group")
    if head["epoch"] != succeeding(fork["epoch"]) or "ordered_by" in head:
        raise Refused("epoch")
    before, after = fork["state"], head["state"]
    if after["hub"] not in before["successors"]:
        raise Refused("not_named")
    if after != before | {"term": before["term"] + 1, "hub": after["hub"], "successors": after["successors"]}:
        raise Refused("state")


def hub_at(state):
    return {"hub": state["hub"].hex(), "term": state["term"]}


def succession(given):
    fork, head = open_head(given["from"]), open_head(given["head"])
    check_succession(fork, head)
    return hub_at(head["state"])


def lineage(given):
    before, at = None, {"hub": unhex(given["first"]), "term": 0}
    for part in given["heads"]:
        head = open_head(part)
        if head["group"] != unhex(given["group"]):
            raise Refused("other_group")
        if (orderer(head), head["state"]["term"]) != (at["hub"], at["term"]):
            if before is None:
                raise Refused("lineage")
            check_succession(before, head)
        before, at = head, head["state"]
    return hub_at(at)


def equivocation(given):
    one, other = open_head(given["head_a"]), open_head(given["head_b"])
    if any(said(one) != said(other) for said in (lambda head: head["group"], lambda head: head["epoch"], orderer)):
        raise Refused("unrelated")
    if one == other:
        raise Refused("same")
    return {"hub": orderer(one).hex(), "term": one["state"]["term"]}


# --- Files ----------------------------------------------------------------------------------------------------------

def chacha20_block(key, counter, nonce):
    """RFC 8439, section 2.3."""
    words = lambda data: [int.from_bytes(data[at:at + 4], "little") for at in range(0, len(data), 4)]
    start = words(b"expand 32-byte k") + words(key) + [counter] + words(nonce)
    state, mask = start[:], 0xffffffff
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            for to, by, turned, places in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                state[to] = state[to] + state[by] & mask
                mixed = state[turned] ^ state[to]
                state[turned] = (mixed << places | mixed >> 32 - places) & mask
    return b"".join((now + was & mask).to_bytes(4, "little") for now, was in zip(state, start))


def aead_tag(key, nonce, sealed, data):
    """RFC 8439, sections 2.5 and 2.8."""
    one_time = chacha20_block(key, 0, nonce)
    r = int.from_bytes(one_time[:16], "little") & 0x0ffffffc0ffffffc0ffffffc0fffffff
    padded = lambda part: part + bytes(-len(part) % 16)
    message = padded(data) + padded(sealed) + len(data).to_bytes(8, "little") + len(sealed).to_bytes(8, "little")
    total = 0
    for at in range(0, len(message), 16):
        total = (total + int.from_bytes(message[at:at + 16] + b"\x01", "little")) * r % ((1 << 130) - 5)
    return (total + int.from_bytes(one_time[16:32], "little") & (1 << 128) - 1).to_bytes(16, "little")


def stream(key, nonce, data):
    out = bytearray()
    for at in range(0, len(data), 64):
        block = chacha20_block(key, 1 + at // 64, nonce)
        out += bytes(one ^ other for one, other in zip(data[at:at + 64], block))
    return bytes(out)


def padded_bytes(size):
    if size <= 4096:
        return 4096
    exponent = size.bit_length() - 1
    unit = 1 << exponent - exponent.bit_length()
    return -(-size // unit) * unit


CHUNK = 65_536


def file_nonce(number, last):
    return bytes(7) + number.to_bytes(4, "big") + bytes([last])


def file_vector(given):
    key, size, sealed = unhex(given["key"]), given["size"], unhex(given["sealed"])
    padded = padded_bytes(size)
    if len(sealed) != padded + 16 * -(-padded // CHUNK):
        raise Refused("length")
    opened, count = b"", -(-padded // CHUNK)
    for number in range(count):
        chunk = sealed[number * (CHUNK + 16):(number + 1) * (CHUNK + 16)]
        nonce = file_nonce(number, number == count - 1)
        if aead_tag(key, nonce, chunk[:-16], b"roost/1/file") != chunk[-16:]:
            raise Refused("chunk")
        opened += stream(key, nonce, chunk[:-16])
    if any(opened[size:]):
        raise Refused("padding")
    if roost_hash("roost/1/blob-id", sealed) != unhex(given["blob"]):
        raise Refused("name")
    return {"file": opened[:size].hex()}


def file_seal(given):
    key, size = unhex(given["key"]), given["size"]
    padded = padded_bytes(size)
    plain = bytes(at * 31 % 251 for at in range(size)) + bytes(padded - size)
    sealed = b""
    for at in range(0, padded, CHUNK):
        nonce = file_nonce(at // CHUNK, at + CHUNK >= padded)
        chunk = stream(key, nonce, plain[at:at + CHUNK])
        sealed += chunk + aead_tag(key, nonce, chunk, b"roost/1/file")
    first = sealed[:CHUNK + 16]
    return {"blob": roost_hash("roost/1/blob-id", sealed).hex(), "bytes": len(sealed), "first_chunk_tag": first[-16:].hex()}


READERS = {
    "file": file_vector, "file-seal": file_seal,
    "hash": hash_vector, "ids": ids, "peer-id": peer_id, "canonical": typed, "handle": handle, "recovery-code": recovery_code,
    "safety-number": safety_number, "identity-log": identity_log, "two-logs": two_logs, "entry": entry_vector, "entries": entries_vector,
    "content": content_vector, "exchange": exchange, "record": record_vector, "select": select, "signed": signed_vector,
    "sign-in": sign_in, "hello": hello, "head": head_vector, "succession": succession, "lineage": lineage,
    "equivocation": equivocation, "leave": leave, "whisper": whisper,
}


def fits(found, expected):
    """`...` stands for what this reader does not compute."""
    if found is ...:
        return True
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(fits(found[key], expected[key]) for key in found)
    return found == expected


def main():
    checked, passed_over, wrong = 0, 0, []
    for path in sorted(HERE.rglob("*.json")):
        name = path.relative_to(HERE).with_suffix("").as_posix()
        vector = json.loads(path.read_text())
        if vector["kind"] not in READERS:
            passed_over += 1
            continue
        try:
            found = READERS[vector["kind"]](vector["given"])
            right = "accept" in vector["expect"] and fits(found, vector["expect"]["accept"])
        except Refused as refused:
            found = str(refused)
            right = vector["expect"].get("refuse") == found
        checked += 1
        if not right:
            wrong.append(f"{name}: expected {vector['expect']}, got {found}")
    print(f"{checked} vectors checked, {passed_over} passed over, {len(wrong)} wrong")
    print("\n".join(wrong))
    return 1 if wrong or checked < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
