#!/usr/bin/env python3
"""An outsider's second opinion on an export of the voucher ledger.

    scripts/verify_export.py DIR --registrar-vkey VKEY [--json]
    scripts/verify_export.py --self-test

It shares no code with the nodes: it was written from docs/record-format.md, docs/protocol.md and the C2SP specifications
(signed-note, tlog-checkpoint, tlog-tiles, tlog-cosignature). The only thing that it trusts is the registrar's log key, VKEY.
From it follows everything else:

    VKEY -> the registrar's signed head -> every entry under its root -> members' keys, enrolments, suspensions
         -> every member's signed head  -> every entry under that     -> vouchers, figures

It is one file, long as it is, so that it can be carried anywhere and read from top to bottom: bytes, Merkle trees, notes, records, tokens, membership, vouchers, statistics, report.
Bundles are read one at a time; what stays in memory is 32 bytes for each entry and the chain records themselves.

Not judged: contested vouchers of forked logs and what `Resolved` keeps, grace before `Reclaimed`, the second person of `Approved`, small-order
keys (OpenSSL's Ed25519 is not the strict rule of the nodes), tiles above level 0. What names a record behind the exported heads is counted
("names beyond the export") and not called wrong.

Exit code 0: all verified. 1: something is wrong, and each finding names log, index and what. 2: it could not be judged.
Needs Python 3.11 and the package `cryptography`.
"""
from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature


class Unjudged(Exception):
    """Input that is missing or cannot be read at all: exit code 2."""


class Bad(Exception):
    """Something that is not as the documents say."""


# ---- bytes ---------------------------------------------------------------------------------------------------------

MAX_ENTRY, MAX_NOTE, MAX_JSON = 7168, 128 * 1024, 16 * 1024 * 1024
MAX_BUNDLE = 256 * (2 + 65535)


def sha256(*parts: bytes) -> bytes:
    h = hashlib.sha256()
    for part in parts:
        h.update(part)
    return h.digest()


def read_file(path: Path, limit: int) -> bytes:
    """A whole file, if it is not larger than `limit`."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Unjudged(f"{path}: {error.strerror}") from None
    if len(data) > limit:
        raise Unjudged(f"{path}: larger than {limit} bytes")
    return data


def unbase64(text: str) -> bytes:
    """Strict base64: right padding, no stray bits."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, UnicodeError):
        raise Bad("bad base64") from None
    if base64.b64encode(data).decode() != text:
        raise Bad("base64 is not canonical")
    return data


# ---- Merkle (RFC 6962, section 2.1) --------------------------------------------------------------------------------


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00", entry)


class Tree:
    """Leaves go in from the left; the stack holds one root for each set bit of the size."""

    def __init__(self) -> None:
        self.size, self.stack = 0, []

    def add(self, leaf: bytes) -> None:
        bits, node = self.size, leaf
        while bits & 1:
            node = sha256(b"\x01", self.stack.pop(), node)
            bits >>= 1
        self.stack.append(node)
        self.size += 1

    def root(self) -> bytes:
        if not self.stack:
            return sha256(b"")
        root = self.stack[-1]
        for left in reversed(self.stack[:-1]):
            root = sha256(b"\x01", left, root)
        return root


def root_of(leaves: bytearray | bytes, size: int) -> bytes:
    tree = Tree()
    for i in range(size):
        tree.add(bytes(leaves[32 * i : 32 * i + 32]))
    return tree.root()


def tile_path(kind: str, number: int, width: int) -> str:
    """tlog-tiles: 1234067 is x001/x234/067, and a partial one has its width behind it."""
    groups = [f"{number % 1000:03}"]
    while number >= 1000:
        number //= 1000
        groups.insert(0, f"x{number % 1000:03}")
    return f"tile/{kind}/" + "/".join(groups) + (f".p/{width}" if width < 256 else "")


def tile(log: Path, kind: str, number: int, width: int, limit: int) -> tuple[bytes, bool]:
    """A tile and whether it is the full one instead of the partial one that was asked for."""
    part = log / tile_path(kind, number, width)
    if width < 256 and not part.is_file() and (log / tile_path(kind, number, 256)).is_file():
        return read_file(log / tile_path(kind, number, 256), limit), True
    return read_file(part, limit), False


def entries(log: Path, size: int, wrong: Any) -> Iterator[tuple[int, bytes]]:
    """Every entry below `size`, one bundle in memory. `wrong(index, what)` is told of a bundle that ends badly."""
    for number in range((size + 255) // 256):
        width = min(256, size - 256 * number)
        data, longer = tile(log, "entries", number, width, MAX_BUNDLE)
        at = 0
        for i in range(width):
            index = 256 * number + i
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            if at + 2 > len(data) or end > len(data):
                wrong(index, "the bundle ends inside or before this entry")
                return
            yield index, data[at + 2 : end]
            at = end
        if at != len(data) and not longer:
            wrong(256 * number + width - 1, "bytes are left over behind the last entry of the bundle")


# ---- notes (C2SP signed-note, tlog-checkpoint, tlog-cosignature) ----------------------------------------------------


def ed25519_ok(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def key_id(name: str, kind: int, key: bytes) -> bytes:
    return sha256(name.encode(), b"\n", bytes([kind]), key)[:4]


def parse_vkey(text: str) -> tuple[str, bytes]:
    """name+id+base64(0x01 key): the name and the key."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not parts[0]:
        raise Bad("not a verification key: name+id+key is expected")
    data = unbase64(parts[2])
    if len(data) != 33 or data[0] != 1:
        raise Bad("not an Ed25519 verification key")
    if key_id(parts[0], 1, data[1:]).hex() != parts[1]:
        raise Bad("the id of the verification key is not that of its key")
    return parts[0], data[1:]


@dataclass
class Note:
    text: bytes
    lines: list[tuple[str, bytes, bytes]]  # name, key id, signature

    def signed_by(self, name: str, key: bytes) -> bool:
        for who, kid, signature in self.lines:
            if who == name and kid == key_id(name, 1, key):
                return len(signature) == 64 and ed25519_ok(key, signature, self.text)
        return False

    def cosigned(self, key: bytes) -> tuple[str, bool] | None:
        """The first cosignature line whose id fits this witness key: the name that it bears, and whether it holds."""
        for who, kid, signature in self.lines:
            if kid == key_id(who, 4, key):
                time = int.from_bytes(signature[:8], "big")
                message = f"cosignature/v1\ntime {time}\n".encode() + self.text
                return who, len(signature) == 72 and ed25519_ok(key, signature[8:], message)
        return None


def parse_note(data: bytes) -> Note:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise Bad("a note that is no UTF-8") from None
    if any(b < 0x20 and b != 0x0A for b in data):
        raise Bad("a note with control characters")
    cut = data.rfind(b"\n\n")
    if cut < 0 or not data.endswith(b"\n") or cut + 2 >= len(data):
        raise Bad("a note without signatures")
    lines = []
    for line in data[cut + 2 : -1].decode().split("\n"):
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014" or not parts[1] or "+" in parts[1] or len(lines) >= 64:
            raise Bad("a bad signature line")
        blob = unbase64(parts[2])
        if len(blob) < 5:
            raise Bad("a signature line that is too short")
        lines.append((parts[1], blob[:4], blob[4:]))
    return Note(data[: cut + 1], lines)


def parse_checkpoint(text: bytes, origin: str) -> tuple[int, bytes]:
    lines = text.decode().split("\n")[:-1]
    if len(lines) < 3 or "" in lines:
        raise Bad("a checkpoint has three lines")
    if lines[0] != origin:
        raise Bad(f"the checkpoint is of {lines[0]!r}")
    if not (lines[1].isascii() and lines[1].isdigit()) or str(int(lines[1][:20])) != lines[1] or int(lines[1]) >= 2**63:
        raise Bad("a bad size")
    size, root = int(lines[1]), unbase64(lines[2])
    if len(root) != 32 or (size == 0 and root != sha256(b"")):
        raise Bad("a bad root")
    return size, root


# ---- records (docs/record-format.md) --------------------------------------------------------------------------------
#
# A type is a word for what has no parts, or a tuple: ("fields", (name, type), ...), ("enum", (variant, fields...), ...),
# ("list", type), ("option", type). Values are dicts, (variant, dict), lists, None or the value.

NUMBERS = {"u8": (1, False), "u16": (2, False), "i16": (2, True), "i32": (4, True), "u32": (4, False), "u64": (8, False), "i64": (8, True)}
FIXED = {"b16": 16, "b32": 32, "b64": 64}
ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def words(text: str) -> tuple:
    return ("enum", *((word,) for word in text.replace(",", " ").split()))


def fields(*parts: Any) -> tuple:
    return ("fields", *parts)


NAME = fields(("institution", "inst"), ("index", "u64"), ("id", "b32"))
VOUCHER = fields(("issuer", "inst"), ("uuid", "b16"))
ROLE = words("Issuer Community Voucher Hospital Auditor")
VOID = words("IssuerDecision, EntitlementEnded, HolderDied, Mistake, SuspectedFraud, ClaimRefused, TakenBack, Lapsed")
ASSIST = words("NoPhone, PhoneBroken, NeedsHelp")
PRESENTATION = fields(("cose", "bytes"), ("assisted", ("option", fields(("helper", "b16"), ("reason", ASSIST)))))
WITNESSED = fields(("presentation", PRESENTATION), ("registrar", NAME))
NAMES = ("list", NAME)
STEP = (
    "enum",
    ("Generated", ("programme", NAME), ("valid_from", "i64"), ("valid_until", "i64")),
    ("Sent", ("community", "inst")),
    ("Encoded", ("token", "text")),
    ("Issued", ("enrolment", NAME), ("presentation", PRESENTATION)),
    ("HandedOver", ("enrolment", NAME)),
    ("Booked", ("hospital", "inst"), ("details", "b32"), ("respond_by", "i64"), ("use_from", "i64"), ("use_by", "i64")),
    ("BookingConfirmed",),
    ("BookingDeclined", ("reason", words("SlotTaken, SlotUnknown, DetailsMissing, DepartmentNotAllowed, Unable"))),
    ("BookingReleased", ("reason", words("Cancelled, Moved, Unable"))),
    ("BookingLapsed", ("position", NAME)),
    ("UseConfirmed", ("presentation", PRESENTATION), ("complete_by", "i64")),
    ("UseAborted", ("reason", words("DeskError, HolderLeft, Unable"))),
    ("ExamCompleted", ("evidence", "b32"), ("presentation", PRESENTATION), ("claim_by", "i64")),
    ("RedemptionClaimed", ("answers", ("option", NAME))),
    ("Redeemed",),
    ("ClaimRejected", ("reason", words("OpeningMissing, OpeningDiffers, DepartmentNotAllowed, PerformerElsewhere, TimesDiffer, ItemNotDone, Disputed, Unfounded")), ("is_final", "bool")),
    ("Returned", ("reason", words("VoidRequested, NotNeeded, HolderGaveBack, Leaving"))),
    ("Voided", ("cause", ("enum", ("Reason", ("reason", VOID)), ("Expired", ("positions", NAMES))))),
    ("Reclaimed", ("reason", words("Silent, Standing")), ("positions", NAMES)),
    ("Reversed", ("reason", words("Mistake, Disputed, Fraud, CutOff")), ("approver", "b16"), ("void", "bool")),
    ("Resolved", ("outcome", ("enum", ("Keep", ("record", NAME)), ("Void", ("reason", VOID)))), ("approver", "b16")),
)
NOTE = (
    "enum",
    ("CancelRequested", ("witnessed", WITNESSED)),
    ("MoveRequested", ("witnessed", WITNESSED), ("details", "b32"), ("hospital", "inst")),
    ("UsePresented", ("token", "b32")),
    ("HelpRequested", ("step", words("Book, Cancel")), ("details", "b32"), ("witnessed", WITNESSED)),
    ("UseDisputed", ("witnessed", WITNESSED)),
    ("VoidRequested", ("reason", VOID)),
    ("CompensationGranted", ("superseded", NAME), ("approver", "b16")),
    ("Verified", ("place", words("CommunityDesk, HospitalDesk, Terminal")), ("booked", "bool"), ("examined", "bool"), ("redeemed", "bool"), ("valid", "bool"), ("outcome", words("Good, Refused"))),
    ("NoShow",), ("QrRetired",), ("QrRestored",), ("RecordRemoved",),
)
ENTRY = fields(("institution", "inst"), ("roles", ("list", ROLE)), ("url", "text"), ("origin", "text"),
               ("log", "b32"), ("node", "b32"), ("witness", "b32"), ("proof_log", "b64"), ("proof_node", "b64"), ("proof_witness", "b64"))
HOLDER_KEY = ("enum", ("Ed25519", ("key", "b32")), ("Es256", ("odd", "bool"), ("x", "b32")))
STANDING = (("institution", "inst"), ("from", "u64"), ("approver", "b16"))
REGISTRAR = (
    "enum",
    ("MemberRegistered", ("entry", ENTRY)),
    ("MemberChanged", ("institution", "inst"), ("from", "u64"), ("roles", ("list", ROLE)), ("url", "text")),
    ("MemberSuspended", *STANDING), ("MemberRestored", *STANDING), ("MemberRevoked", *STANDING),
    ("KeyRotated", ("institution", "inst"), ("from", "u64"), ("purpose", words("Log, Node, Witness")), ("key", "b32"), ("proof", "b64"), ("by_old", ("option", "b64")), ("approver", "b16")),
    ("LogFrozen", ("institution", "inst"), ("size", "u64"), ("root", "b32"), ("approver", "b16")),
    ("ParametersPublished", ("grace_before_use", "i64"), ("grace_after_use", "i64"), ("complete_within", "i64"), ("claim_within", "i64"), ("correction_period", "i64"), ("format_level", "u8")),
    ("Enrolled", ("id", "b16"), ("key", ("option", HOLDER_KEY)), ("programme", NAME), ("community", "inst"), ("voucher_module", "inst")),
    ("EnrolmentBlocked", ("enrolment", NAME), ("reason", words("LostOrStolen, Died, EntitlementEnded, HolderAsked"))),
    ("EnrolmentKeyChanged", ("enrolment", NAME), ("key", ("option", HOLDER_KEY))),
    ("EnrolmentMoved", ("enrolment", NAME), ("community", "inst"), ("voucher_module", "inst")),
    ("CardIssued", ("enrolment", NAME), ("card", "b16"), ("key", "b32")),
    ("LogSucceeded", ("institution", "inst"), ("size", "u64"), ("root", "b32"), ("successor", "inst"), ("approver", "b16")),
    ("IssuerSucceeded", ("issuer", "inst"), ("from", "u64"), ("successor", "inst"), ("approver", "b16")),
)
POLICY = fields(("name", "text"), ("title_zh", "text"), ("title_en", "text"), ("service", "text"), ("department", "text"),
                ("classes", ("list", words("Elderly, Chronic, Pregnant, Disabled"))), ("validity_days", "u16"), ("vouchers_per_holder", "u16"),
                ("departments", ("list", "text")), ("card_allowed", "bool"))
PROGRAMME = ("enum", ("Published", ("policy", POLICY)), ("Changed", ("programme", NAME), ("policy", POLICY)))
MEASURE = words("Generated, Sent, Issued, BookingRequested, Booked, Used, UsedAssisted, Examined, Claimed, Rejected, Redeemed, Reversed, Returned, Reclaimed, Voided")
STATISTICS = fields(("from", "i64"), ("until", "i64"), ("offset", "i16"),
                    ("covers", ("list", fields(("institution", "inst"), ("size", "u64"), ("root", "b32")))),
                    ("table", "b32"), ("rows", "u32"), ("totals", ("list", fields(("measure", MEASURE), ("count", "u64")))))
ROW = fields(("day", "i32"), ("programme", NAME), ("community", ("option", "inst")), ("hospital", ("option", "inst")), ("measure", MEASURE), ("count", "u64"))
FINDING = fields(("kind", words("Fork, RootMismatch, BadRecord, ClockWentBack, RuleBroken, SecondSuccessor, BadPresentation, PresentationTwice, StatisticsDiffer, TakenBackWrongly, SettledBeforeKnown, UseDisputed, NotConserved, OverlappingPresence, BackDated, UsedAfterBlock, ExaminedBeforeIssue, OutlierHospital, AssistedShare")),
                 ("institution", "inst"), ("voucher", ("option", VOUCHER)), ("records", NAMES), ("count", "u64"), ("evidence", ("option", "b32")))
BODY = (
    "enum",
    ("Chain", ("voucher", VOUCHER), ("prev", ("option", NAME)), ("registrar", NAME), ("step", STEP)),
    ("Note", ("voucher", VOUCHER), ("about", NAME), ("note", NOTE)),
    ("Registrar", ("event", REGISTRAR)),
    ("Programme", ("event", PROGRAMME)),
    ("Statistics", ("figures", STATISTICS)),
    ("Heartbeat",),
    ("Finding", ("finding", FINDING)),
    ("Insisted", ("what", words("StartRule, TrustAnchor"))),
    ("Approved", ("record", NAME), ("approver", "b16")),
)
RECORD = fields(("institution", "inst"), ("index", "u64"), ("role", ROLE), ("at", "i64"), ("operator", ("option", "b16")),
                ("idempotency", ("option", fields(("key", "b32"), ("request", "b32")))), ("body", BODY))


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        if n > len(self.data) - self.at:
            raise Bad("it ends too early")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, kind: str) -> int:
        width, signed = NUMBERS[kind]
        return int.from_bytes(self.take(width), "little", signed=signed)

    def read(self, kind: Any) -> Any:
        if isinstance(kind, str):
            return self.simple(kind)
        what, *parts = kind
        if what == "fields":
            return {name: self.read(of) for name, of in parts}
        if what == "enum":
            number = self.number("u32")
            if number >= len(parts):
                raise Bad(f"an enum has no variant {number}")
            variant, *inner = parts[number]
            return variant, {name: self.read(of) for name, of in inner}
        if what == "option":
            return self.read(parts[0]) if self.simple("bool") else None
        count = self.number("u64")
        if count > len(self.data):
            raise Bad("a list longer than the record")
        return [self.read(parts[0]) for _ in range(count)]

    def simple(self, kind: str) -> Any:
        if kind in NUMBERS:
            return self.number(kind)
        if kind in FIXED:
            return self.take(FIXED[kind])
        if kind == "bool":
            byte = self.take(1)[0]
            if byte > 1:
                raise Bad("a bool or option that is neither 00 nor 01")
            return byte == 1
        data = self.take(self.number("u64"))
        if kind == "bytes":
            return data
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise Bad("a text that is no UTF-8") from None
        if kind == "inst" and not (1 <= len(text) <= 24 and ALPHABET.issuperset(text)):
            raise Bad(f"{text!r} is no institution")
        return text


def write(kind: Any, value: Any) -> bytes:
    """The canonical bytes of a value."""
    if isinstance(kind, str):
        if kind in NUMBERS:
            width, signed = NUMBERS[kind]
            return value.to_bytes(width, "little", signed=signed)
        if kind in FIXED:
            return value
        if kind == "bool":
            return b"\x01" if value else b"\x00"
        data = value if kind == "bytes" else value.encode()
        return len(data).to_bytes(8, "little") + data
    what, *parts = kind
    if what == "fields":
        return b"".join(write(of, value[name]) for name, of in parts)
    if what == "enum":
        number = next(n for n, part in enumerate(parts) if part[0] == value[0])
        return number.to_bytes(4, "little") + b"".join(write(of, value[1][name]) for name, of in parts[number][1:])
    if what == "option":
        return b"\x00" if value is None else b"\x01" + write(parts[0], value)
    return len(value).to_bytes(8, "little") + b"".join(write(parts[0], item) for item in value)


def decode(entry: bytes) -> dict:
    if len(entry) > MAX_ENTRY:
        raise Bad("longer than a record may be")
    if entry[:1] != b"\x01":
        raise Bad("not version 1")
    reader = Reader(entry[1:])
    record = reader.read(RECORD)
    if reader.at != len(reader.data):
        raise Bad("bytes are left over")
    if b"\x01" + write(RECORD, record) != entry:
        raise Bad("not canonical")
    return record


Name = tuple[str, int, bytes]


def name_of(value: dict) -> Name:
    return value["institution"], value["index"], value["id"]


def names_in(kind: Any, value: Any) -> Iterator[Name]:
    """Every record name that stands anywhere in a value."""
    if isinstance(kind, str) or value is None:
        return
    if kind is NAME:
        yield name_of(value)
    elif kind[0] == "fields":
        for name, of in kind[1:]:
            yield from names_in(of, value[name])
    elif kind[0] == "enum":
        for name, of in next(part for part in kind[1:] if part[0] == value[0])[1:]:
            yield from names_in(of, value[1][name])
    elif kind[0] == "option":
        yield from names_in(kind[1], value)
    else:
        for item in value:
            yield from names_in(kind[1], item)


# ---- tokens (docs/record-format.md, Presentations) -------------------------------------------------------------------


def cbor(data: bytes, at: int = 0, depth: int = 0) -> tuple[Any, int]:
    """One item of the little CBOR that tokens use: integers, bytes, texts, null, arrays, maps, tag 18. Shortest forms only."""
    if depth > 4 or at >= len(data):
        raise Bad("CBOR too deep or too short")
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if data[at - 1] == 0xF6:
        return None, at
    if low < 24:
        n = low
    elif low <= 27:
        width = 1 << (low - 24)
        n = int.from_bytes(data[at : at + width], "big")
        if at + width > len(data) or n < (24 if width == 1 else 1 << (4 * width)):
            raise Bad("CBOR that is cut or not in its shortest form")
        at += width
    else:
        raise Bad("CBOR of unknown length")
    if major in (0, 1):
        return (n if major == 0 else -1 - n), at
    if major in (2, 3):
        if at + n > len(data):
            raise Bad("CBOR that is cut")
        raw = data[at : at + n]
        try:
            return (raw if major == 2 else raw.decode()), at + n
        except UnicodeDecodeError:
            raise Bad("CBOR text that is no UTF-8") from None
    if major == 6 and n == 18:
        return cbor(data, at, depth + 1)
    if major == 4 and n <= 8:
        items = []
        for _ in range(n):
            item, at = cbor(data, at, depth + 1)
            items.append(item)
        return items, at
    if major == 5 and n <= 8:
        pairs: dict[int, Any] = {}
        before = b""
        for _ in range(n):
            start = at
            key, at = cbor(data, at, depth + 1)
            if not isinstance(key, int) or data[start:at] <= before:
                raise Bad("CBOR map whose keys are not integers in order")
            before = data[start:at]
            pairs[key], at = cbor(data, at, depth + 1)
        return pairs, at
    raise Bad("CBOR of a kind that tokens do not have")


@dataclass
class Token:
    algorithm: int
    kid: bytes
    claims: dict[int, Any]
    signed: bytes
    signature: bytes

    def verifies(self, key: tuple[str, dict]) -> bool:
        kind, parts = key
        if kind == "Ed25519":
            return self.algorithm == -8 and ed25519_ok(parts["key"], self.signature, self.signed)
        try:
            point = (b"\x03" if parts["odd"] else b"\x02") + parts["x"]
            public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            r, s = (int.from_bytes(self.signature[i : i + 32], "big") for i in (0, 32))
            public.verify(encode_dss_signature(r, s), self.signed, ec.ECDSA(hashes.SHA256()))
            return self.algorithm == -7
        except (InvalidSignature, ValueError):
            return False


def byte_string(data: bytes) -> bytes:
    n = len(data)
    return (bytes([0x40 + n]) if n < 24 else bytes([0x58, n]) if n < 256 else b"\x59" + n.to_bytes(2, "big")) + data


def parse_token(data: bytes, limit: int) -> Token:
    if len(data) > limit:
        raise Bad("a token that is too long")
    if data[:2] != b"\xd2\x84":
        raise Bad("not a COSE_Sign1")
    parts, end = cbor(data)
    if end != len(data) or len(parts) != 4 or not all(isinstance(parts[i], bytes) for i in (0, 2, 3)) or parts[1] != {}:
        raise Bad("a COSE_Sign1 of another form")
    header, end = cbor(parts[0])
    if end != len(parts[0]) or not isinstance(header, dict) or set(header) != {1, 4} or header[1] not in (-7, -8):
        raise Bad("a COSE header of another form")
    claims, end = cbor(parts[2])
    if end != len(parts[2]) or not isinstance(claims, dict):
        raise Bad("claims that are no map")
    if not isinstance(header[4], bytes) or len(header[4]) != 8 or len(parts[3]) != 64:
        raise Bad("a COSE key id or signature of another length")
    signed = b"\x84\x6aSignature1" + byte_string(parts[0]) + b"\x40" + byte_string(parts[2])
    return Token(header[1], header[4], claims, signed, parts[3])


STEP_CLAIM = {"Issued": -3, "UseConfirmed": -4, "ExamCompleted": -5, "Cancel": -6}
BASE45 = {c: i for i, c in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")}


def unbase45(text: str) -> bytes:
    out = bytearray()
    for i in range(0, len(text), 3):
        group = text[i : i + 3]
        if len(group) == 1 or any(c not in BASE45 for c in group):
            raise Bad("bad base45")
        n, width = sum(BASE45[c] * 45**k for k, c in enumerate(group)), len(group) - 1
        if n >= 256**width:
            raise Bad("bad base45")
        out += n.to_bytes(width, "big")
    return bytes(out)


def claims_voucher(voucher: dict) -> bytes:
    return voucher["uuid"] + voucher["issuer"].encode()


# ---- membership (the registrar's log; docs/protocol.md, section 5) ----------------------------------------------------


@dataclass
class Member:
    origin: str
    roles: list[tuple[int, int, set[str]]]  # position in the registrar's log, index in the member's log from which, roles
    keys: dict[str, list[tuple[int, bytes]]]  # by purpose: index from which, key
    standing: list[tuple[int, int, bool]] = field(default_factory=list)  # position, from, good
    end: int | None = None  # frozen or succeeded: nothing from here on counts
    end_root: bytes = b""

    def good(self, index: int | None, role: str, position: int) -> bool:
        """In good standing in a role: for a record by its index, for who is named (None) by the registrar position."""
        roles, well = set(), True
        for when, start, what in self.roles:
            if (index is None and when <= position) or (index is not None and index >= start):
                roles = what
        for when, start, what in self.standing:
            if (index is None and when <= position) or (index is not None and index >= start):
                well = what
        return well and role in roles and not (index is not None and self.end is not None and index >= self.end)

    def head_keys(self, size: int) -> list[bytes]:
        """Log keys that may sign a head of this size: a replaced one signs none longer than its rotation names."""
        keys = self.keys["Log"]
        return [key for n, (_, key) in enumerate(keys) if n + 1 == len(keys) or size <= keys[n + 1][0]]


@dataclass
class Enrolment:
    id: bytes
    programme: Name
    history: list[tuple[int, int, str, Any]]  # position, at, what, value

    def at(self, position: int) -> dict[str, Any]:
        state: dict[str, Any] = {"key": None, "card": None, "home": None, "blocked": None}
        for where, _, what, value in self.history:
            if where <= position:
                state[what] = value
        return state

    def stale(self, position: int, at: int) -> bool:
        """A block or key change that the named position does not know and that acts by now (ten minutes)."""
        return any(where > position and what != "home" and since + 600_000 <= at for where, since, what, _ in self.history)


@dataclass(slots=True)
class Link:
    """A chain record, or a note with something that a holder signed."""

    name: Name
    role: str
    at: int
    operator: bytes | None
    prev: Name | None
    registrar: Name
    step: tuple[str, dict]
    ok: bool | None = None  # what was found about its presentation, once


class Ledger:
    """Everything that the logs say, and what is wrong with it."""

    def __init__(self, registrar: str) -> None:
        self.registrar = registrar
        self.findings: list[dict[str, Any]] = []
        self.more = 0
        self.counts: Counter[str] = Counter()
        self.leaves: dict[str, bytearray] = {}
        self.members: dict[str, Member] = {}
        self.enrolments: dict[Name, Enrolment] = {}
        self.policies: dict[Name, dict] = {}
        self.parameters: list[tuple[int, dict]] = []
        self.chains: dict[tuple[str, bytes], list[Link]] = defaultdict(list)
        self.notes: list[tuple[tuple[str, bytes], Name, Link]] = []
        self.statistics: list[tuple[Name, dict]] = []
        self.heirs: dict[str, str] = {}
        self.named: list[tuple[str, int, Name]] = []
        self.ctis: dict[tuple[str, bytes, bytes], int] = {}

    def wrong(self, log: str, index: int | None, what: str) -> None:
        if len(self.findings) < 1000:
            self.findings.append({"log": log, "index": index, "what": what})
        else:
            self.more += 1

    def stands(self, name: Name) -> bool | None:
        """Whether a record is where it is said to be; None if that log is not here so far."""
        leaves = self.leaves.get(name[0])
        if leaves is None or 32 * name[1] >= len(leaves):
            return None
        return bytes(leaves[32 * name[1] : 32 * name[1] + 32]) == name[2]

    # -- one log

    def read_log(self, base: Path, institution: str, origin: str, directory: str, vkey: tuple[str, bytes] | None) -> None:
        log = base / directory
        if not log.resolve().is_relative_to(base.resolve()):
            raise Unjudged(f"{directory} is outside of the export")
        say = lambda index, what: self.wrong(institution, index, what)
        try:
            note = parse_note(read_file(log / "checkpoint", MAX_NOTE))
            size, root = parse_checkpoint(note.text, origin)
        except Bad as bad:
            say(None, f"checkpoint: {bad}")
            return
        member = self.members.get(institution)
        if vkey:
            if vkey[0] != origin or not note.signed_by(*vkey):
                say(None, "checkpoint: no good signature by the registrar's key that was given")
                return
        elif member is None:
            say(None, "checkpoint: the registrar's log knows no such member")
            return
        elif origin != member.origin or not any(note.signed_by(origin, key) for key in member.head_keys(size)):
            say(None, "checkpoint: no good signature by the log key that the registrar's log names")
            return
        self.leaves[institution] = leaves = bytearray()
        tree, before = Tree(), -(2**63)
        for index, entry in entries(log, size, say):
            leaf = leaf_hash(entry)
            tree.add(leaf)
            leaves += leaf
            try:
                record = decode(entry)
            except Bad as bad:
                say(index, f"record: {bad}")
                continue
            if (record["institution"], record["index"]) != (institution, index):
                say(index, f"record: it says that it is {record['institution']}.{record['index']}")
                continue
            if record["at"] < before:
                say(index, "record: its time is before that of the record before it")
            before = max(before, record["at"])
            self.take((institution, index, leaf), record)
        self.counts["entries"] += tree.size
        if tree.size != size or tree.root() != root:
            say(None, f"the {tree.size} entries do not give the root of the signed head of size {size}")
        self.level_zero(log, institution, size, leaves)
        self.counts["logs"] += 1
        for other, known in self.members.items():
            for _, key in known.keys["Witness"]:
                if (found := note.cosigned(key)) and not found[1]:
                    say(None, f"checkpoint: the cosignature of {other} does not verify")
                elif found:
                    self.counts["cosignatures"] += 1

    def level_zero(self, log: Path, institution: str, size: int, leaves: bytearray) -> None:
        """Tiles of level 0 name the entry that was changed."""
        for number in range((size + 255) // 256):
            width = min(256, size - 256 * number)
            if not any((log / tile_path("0", number, w)).is_file() for w in (width, 256)):
                self.counts["level-0 tiles missing"] += 1
                continue
            data, longer = tile(log, "0", number, width, 1 << 20)
            if len(data) != 32 * (256 if longer else width):
                self.wrong(institution, 256 * number, f"the level-0 tile that begins here has {len(data)} bytes")
            held = bytes(leaves[8192 * number : 8192 * number + 32 * width])
            if data[: len(held)] != held:
                i = next((i for i in range(0, len(held), 32) if data[i : i + 32] != held[i : i + 32]), 0)
                self.wrong(institution, 256 * number + i // 32, "the entry does not hash to what the level-0 tile holds")

    def take(self, name: Name, record: dict) -> None:
        kind, body = record["body"]
        self.named += ((name[0], name[1], other) for other in names_in(BODY, record["body"]))
        if kind == "Chain":
            voucher = body["voucher"]["issuer"], body["voucher"]["uuid"]
            prev = body["prev"] and name_of(body["prev"])
            self.chains[voucher].append(Link(name, record["role"][0], record["at"], record["operator"], prev, name_of(body["registrar"]), body["step"]))
        elif kind == "Note" and "witnessed" in body["note"][1]:
            voucher = body["voucher"]["issuer"], body["voucher"]["uuid"]
            witnessed = body["note"][1]["witnessed"]
            step = ("Cancel", {"presentation": witnessed["presentation"]})
            self.notes.append((voucher, name_of(body["about"]), Link(name, record["role"][0], record["at"], None, None, name_of(witnessed["registrar"]), step)))
        elif kind == "Programme":
            what, event = body["event"]
            self.policies[name if what == "Published" else name_of(event["programme"])] = event["policy"]
        elif kind == "Statistics":
            self.statistics.append((name, body["figures"]))
        elif kind == "Registrar":
            if name[0] != self.registrar:
                self.wrong(name[0], name[1], "a registrar's event in the log of another")
            else:
                self.registrar_event(name, record["at"], *body["event"])

    def registrar_event(self, name: Name, at: int, kind: str, event: dict) -> None:
        position = name[1]
        say = lambda what: self.wrong(name[0], position, f"{kind}: {what}")
        proof = lambda who, purpose, origin: f"voucher-node/v1/possession\n{who}\n{purpose}\n{origin}\n".encode()
        if kind == "MemberRegistered":
            entry = event["entry"]
            who = entry["institution"]
            if who in self.members:
                return say(f"{who} is a member already")
            for purpose in ("log", "node", "witness"):
                if not ed25519_ok(entry[purpose], entry[f"proof_{purpose}"], proof(who, purpose, entry["origin"])):
                    say(f"the proof of possession of the {purpose} key fails")
            roles = {role[0] for role in entry["roles"]}
            keys = {purpose.capitalize(): [(0, entry[purpose])] for purpose in ("log", "node", "witness")}
            self.members[who] = Member(entry["origin"], [(position, 0, roles)], keys)
            return
        if kind == "ParametersPublished":
            self.parameters.append((position, event))
            return
        if kind == "Enrolled":
            home = event["community"], event["voucher_module"]
            self.enrolments[name] = Enrolment(event["id"], name_of(event["programme"]), [(position, at, "home", home), (position, at, "key", event["key"])])
            return
        if "enrolment" in event:
            enrolment = self.enrolments.get(name_of(event["enrolment"]))
            if enrolment is None:
                return say("there is no such enrolment")
            what, value = {
                "EnrolmentBlocked": lambda: ("blocked", event["reason"][0]),
                "EnrolmentKeyChanged": lambda: ("key", event["key"]),
                "EnrolmentMoved": lambda: ("home", (event["community"], event["voucher_module"])),
                "CardIssued": lambda: ("card", event["key"]),
            }[kind]()
            enrolment.history.append((position, at, what, value))
            return
        who = event.get("institution", event.get("issuer"))
        member = self.members.get(who)
        if member is None:
            return say(f"{who} is no member")
        if kind == "MemberChanged":
            member.roles.append((position, event["from"], {role[0] for role in event["roles"]}))
        elif kind in ("MemberSuspended", "MemberRevoked", "MemberRestored"):
            member.standing.append((position, event["from"], kind == "MemberRestored"))
        elif kind == "KeyRotated":
            purpose = event["purpose"][0]
            if not ed25519_ok(event["key"], event["proof"], proof(who, purpose.lower(), member.origin)):
                say("the proof of possession of the new key fails")
            member.keys[purpose].append((event["from"], event["key"]))
        elif kind in ("LogFrozen", "LogSucceeded"):
            member.end, member.end_root = event["size"], event["root"]
        if kind in ("LogSucceeded", "IssuerSucceeded"):
            self.heirs[who] = event["successor"]

    # -- what records name

    def resolve(self) -> None:
        for log, index, name in self.named:
            found = self.stands(name)
            if found is False:
                self.wrong(log, index, f"it names {name[0]}.{name[1]} by another hash than that record has")
            elif found is None:
                self.counts["names beyond the export"] += 1
            else:
                self.counts["names"] += 1
        for links in self.chains.values():
            for link in links:
                if link.registrar[0] != self.registrar:
                    self.wrong(link.name[0], link.name[1], "its registrar position is in another log")
        for who, member in self.members.items():
            leaves = self.leaves.get(who)
            if member.end is not None and leaves is not None and len(leaves) >= 32 * member.end and root_of(leaves, member.end) != member.end_root:
                self.wrong(who, None, f"its log has another root at size {member.end} than the registrar drew the line at")

    # -- presentations

    def index_ctis(self) -> None:
        """Which record of a log was the first with a (kid, cti)."""
        links = [link for chain in self.chains.values() for link in chain] + [link for _, _, link in self.notes]
        for link in sorted(links, key=lambda link: link.name[:2]):
            presentation = link.step[1].get("presentation")
            if presentation:
                try:
                    token = parse_token(presentation["cose"], 172)
                except (Bad, TypeError, ValueError):
                    continue
                if isinstance(token.claims.get(7), bytes):
                    self.ctis.setdefault((link.name[0], token.kid, token.claims[7]), link.name[1])

    def presented(self, link: Link, voucher: tuple[str, bytes], enrolment: Enrolment | None) -> str | None:
        """What is wrong with a presentation; None if nothing is."""
        if enrolment is None:
            return "the enrolment is unknown"
        presentation = link.step[1]["presentation"]
        try:
            token = parse_token(presentation["cose"], 172)
        except Bad as bad:
            return str(bad)
        except (TypeError, ValueError):
            return "a COSE_Sign1 of another form"
        claim, claims = STEP_CLAIM[link.step[0]], token.claims
        if set(claims) != {3, 6, 7, claim}:
            return "it says another step, or has other claims"
        policy = self.policies.get(enrolment.programme)
        about = policy and policy["name"] if claim == -3 else voucher[1] + voucher[0].encode()
        if claims[3] != link.name[0]:
            return f"it is for {claims[3]!r}"
        if claims[claim] != about:
            return "it is about another voucher or programme"
        if token.kid != enrolment.id[:8]:
            return "it names another holder key"
        if not isinstance(claims[6], int) or abs(claims[6] * 1000 - link.at) > 300_000:
            return "it is more than five minutes off its record"
        if not isinstance(claims[7], bytes) or len(claims[7]) != 8:
            return "its cti is not 8 bytes"
        if self.ctis.get((link.name[0], token.kid, claims[7])) != link.name[1]:
            return "it was presented before"
        now = enrolment.at(link.registrar[1])
        if presentation["assisted"]:
            if not (policy and policy["card_allowed"] and now["card"]):
                return "there is no card, or none is allowed"
            key = ("Ed25519", {"key": now["card"]})
        else:
            key = now["key"]
        if key is None or not token.verifies(key):
            return "it does not verify under the holder's key in force"
        self.counts["presentations"] += 1
        return None

    def vq1(self, link: Link, voucher: tuple[str, bytes]) -> str | None:
        text = link.step[1]["token"]
        try:
            if not text.startswith("VQ1:"):
                return "no VQ1"
            token = parse_token(unbase45(text[4:]), 204)
        except (Bad, TypeError, ValueError) as bad:
            return str(bad)
        if set(token.claims) != {1, 4, 5, 6, -8, -9} or token.claims[1] != link.name[0] or token.claims[-8] != voucher[1] + voucher[0].encode():
            return "it is of another community or voucher"
        member = self.members.get(link.name[0])
        for _, key in member.keys["Node"] if member else []:
            if token.kid == sha256(key)[:8] and token.verifies(("Ed25519", {"key": key})):
                self.counts["VQ1"] += 1
                return None
        return "it does not verify under the community's node key"


# ---- vouchers (docs/protocol.md, section 2) ---------------------------------------------------------------------------

BEFORE_USE = ("generated", "sent", "encoded", "issued", "booking requested", "booked")
HOLDER_ROLE = {"sent": "Community", "encoded": "Community", "issued": "Voucher", "generated": "Issuer", "claimed": "Issuer", "refused": "Issuer",
               "booking requested": "Hospital", "booked": "Hospital", "in use": "Hospital", "examined": "Hospital", "rejected": "Hospital"}
FROM = {"Sent": ("generated",), "Encoded": ("sent",), "Issued": ("encoded",), "HandedOver": ("issued",), "Booked": ("issued",),
        "BookingConfirmed": ("booking requested",), "BookingDeclined": ("booking requested",), "BookingReleased": ("booked",),
        "BookingLapsed": ("booking requested", "booked"), "UseConfirmed": ("booked",), "UseAborted": ("in use",), "ExamCompleted": ("in use",),
        "RedemptionClaimed": ("examined", "rejected"), "Redeemed": ("claimed",), "ClaimRejected": ("claimed",),
        "Returned": ("sent", "encoded", "issued", "booking requested", "booked"), "Reversed": ("redeemed",)}
SETTLES = ("Redeemed", "Voided", "Reclaimed", "Resolved")


@dataclass(frozen=True)
class State:
    stage: str
    custodian: str | None
    issuer: str
    programme: Name
    until: int
    community: str | None = None
    enrolment: Name | None = None
    module: str | None = None
    hospital: str | None = None
    limits: tuple[int, int, int] = (0, 0, 0)  # respond_by, use_from, use_by
    by: int | None = None  # complete_by or claim_by
    claims: int = 0
    redeemed_at: int = 0

    def but(self, **changes: Any) -> "State":
        return State(**{**self.__dict__, **changes})

    def to_issuer(self, stage: str) -> "State":
        return self.but(stage=stage, custodian=self.issuer, hospital=None, by=None, claims=0 if stage == "generated" else self.claims)

    def to_module(self, at: int) -> "State":
        if at >= self.until:
            return self.to_issuer("generated")
        return self.but(stage="issued", custodian=self.module, hospital=None, by=None, claims=0)


def judge(book: Ledger, voucher: tuple[str, bytes], s: State | None, link: Link) -> State:
    """The state after a record; Bad names the rule that it breaks."""
    kind, step = link.step
    author, at, position = link.name[0], link.at, link.registrar[1]
    member = book.members.get(author)
    if member is None or not member.good(link.name[1], link.role, position):
        raise Bad(f"{author} does not play the role {link.role} in good standing there")
    if s is None:
        if kind != "Generated" or link.role != "Issuer" or author != voucher[0]:
            raise Bad("a voucher begins with Generated by its issuer")
        if not (step["valid_from"] < step["valid_until"] and at < step["valid_until"]):
            raise Bad("it is never valid")
        return State("generated", author, author, name_of(step["programme"]), step["valid_until"])
    heir = lambda who: who == author or book.heirs.get(who or "") == author
    issuer = heir(s.issuer) and link.role == "Issuer"
    custodian = heir(s.custodian) and link.role == HOLDER_ROLE.get(s.stage)
    if s.stage in BEFORE_USE and not issuer and at >= s.until:
        raise Bad("the validity is over")
    if kind in FROM and s.stage not in FROM[kind]:
        raise Bad(f"{kind} does not follow {s.stage}")
    if kind in ("Redeemed", "ClaimRejected", "Voided", "Reclaimed", "Reversed", "Resolved"):
        if not issuer:
            raise Bad(f"{kind} is for the issuer")
    elif kind == "BookingLapsed":
        if not heir(s.module) or link.role != "Voucher":
            raise Bad("BookingLapsed is for the voucher module")
    elif not (custodian or (kind == "HandedOver" and issuer)):
        raise Bad(f"{author} is not the custodian")
    if kind in ("Reversed", "Resolved") and link.operator in (None, step["approver"]):
        raise Bad("a second person is missing")

    def over(limit: int | None, what: str) -> None:
        if limit is not None and at >= limit:
            raise Bad(f"{kind} after {what}")

    numbers = next((p for where, p in reversed(book.parameters) if where <= position), None)
    enrolment = name_of(step["enrolment"]) if "enrolment" in step else s.enrolment
    if "presentation" in step:
        person = book.enrolments.get(enrolment) if enrolment else None
        if link.ok is None:
            what = book.presented(link, voucher, person)
            link.ok = what is None
            if what:
                raise Bad(f"presentation: {what}")
        if not link.ok:
            raise Bad("its presentation fails")
        now = person.at(position)
        if now["blocked"] or person.stale(position, at):
            raise Bad("the enrolment is blocked, or its key was changed")
        if kind == "Issued" and (now["home"][0] != author or person.programme != s.programme):
            raise Bad("the enrolment is of another community or programme")
    after = s
    if kind == "Sent":
        after = s.but(stage="sent", custodian=step["community"], community=step["community"], enrolment=None, module=None)
    elif kind == "Encoded":
        if link.ok is None:
            what = book.vq1(link, voucher)
            link.ok = what is None
            if what:
                raise Bad(f"VQ1: {what}")
        after = s.but(stage="encoded")
    elif kind in ("Issued", "HandedOver"):
        person = book.enrolments.get(enrolment)
        if person is None or person.at(position)["home"] is None:
            raise Bad("the enrolment is unknown")
        module = person.at(position)["home"][1]
        after = s.but(stage="issued", enrolment=enrolment, module=module, custodian=module)
    elif kind == "Booked":
        respond, start, end = step["respond_by"], step["use_from"], step["use_by"]
        if not (at < respond <= end and start < end <= s.until):
            raise Bad("its window is bad")
        after = s.but(stage="booking requested", custodian=step["hospital"], hospital=step["hospital"], limits=(respond, start, end))
    elif kind == "BookingConfirmed":
        over(s.limits[0], "respond_by")
        after = s.but(stage="booked")
    elif kind == "BookingDeclined":
        over(s.limits[0], "respond_by")
        after = s.to_module(at)
    elif kind == "BookingReleased":
        over(s.limits[2], "use_by")
        after = s.to_module(at)
    elif kind == "BookingLapsed":
        after = s.to_module(at)
    elif kind == "UseConfirmed":
        over(s.limits[2], "use_by")
        if at < s.limits[1] or not at < step["complete_by"] or (numbers and step["complete_by"] > at + numbers["complete_within"]):
            raise Bad("too early, or complete_by is out of bounds")
        after = s.but(stage="in use", by=step["complete_by"])
    elif kind == "UseAborted":
        again = step["reason"][0] == "DeskError" and at < s.limits[2]
        after = s.but(stage="booked", by=None) if again else s.to_module(at)
    elif kind == "ExamCompleted":
        over(s.by, "complete_by")
        if not at < step["claim_by"] or (numbers and step["claim_by"] > at + numbers["claim_within"]):
            raise Bad("claim_by is out of bounds")
        after = s.but(stage="examined", by=step["claim_by"])
    elif kind == "RedemptionClaimed":
        over(s.by, "claim_by")
        if (step["answers"] is not None) != (s.stage == "rejected") or (step["answers"] and name_of(step["answers"]) != link.prev) or s.claims >= 3:
            raise Bad("it answers no rejection, or is the fourth claim")
        after = s.but(stage="claimed", custodian=s.issuer, claims=s.claims + 1)
    elif kind == "Redeemed":
        after = s.but(stage="redeemed", custodian=None, redeemed_at=at)
    elif kind == "ClaimRejected":
        final = step["is_final"] or s.claims >= 3
        after = s.to_issuer("refused") if final else s.but(stage="rejected", custodian=s.hospital)
    elif kind == "Returned":
        over({"booking requested": s.limits[0], "booked": s.limits[2]}.get(s.stage), "its time")
        after = s.to_issuer("generated")
    elif kind == "Voided":
        expired = step["cause"][0] == "Expired"
        if not (at >= s.until and s.stage in BEFORE_USE if expired else s.stage in ("generated", "refused")):
            raise Bad(f"Voided does not follow {s.stage} so")
        after = s.but(stage="voided", custodian=None)
    elif kind == "Reclaimed":
        if s.stage in ("redeemed", "voided") or s.custodian == s.issuer:
            raise Bad(f"there is nothing to take back from {s.stage}")
        after = s.to_issuer("refused")
    elif kind == "Reversed":
        if numbers and at >= s.redeemed_at + numbers["correction_period"]:
            raise Bad("the correction period is over")
        after = s.to_issuer("generated") if step["void"] else s.to_module(at)
    elif kind == "Resolved":
        if s.stage == "redeemed":
            raise Bad("it is redeemed")
        after = s.but(stage="voided", custodian=None) if step["outcome"][0] == "Void" else s
    else:
        raise Bad("a second Generated")
    holder = book.members.get(after.custodian or "")
    if after.custodian not in (None, s.issuer) and after.custodian != s.custodian:
        if holder is None or not holder.good(None, HOLDER_ROLE[after.stage], position):
            after = after.to_issuer("refused" if after.stage == "rejected" else "generated")
    return after


def fold(book: Ledger, voucher: tuple[str, bytes], links: list[Link], report: bool) -> list[tuple[Link, State]]:
    """The path that counts. What stands beside it is superseded; what breaks a rule with nothing in its place is reported."""
    children: dict[Name | None, list[Link]] = defaultdict(list)
    for link in links:
        children[link.prev].append(link)
    if report:
        here = {link.name for link in links}
        for link in links:
            if link.prev is not None and link.prev not in here and book.stands(link.prev) is not None:
                book.wrong(link.name[0], link.name[1], "the record before it is not of this voucher's chain")

    def settled(link: Link) -> int | None:
        """The first settlement on or behind a record, by its index in the issuer's log."""
        best, todo = None, [link]
        while todo:
            one = todo.pop()
            if one.step[0] in SETTLES:
                best = one.name[1] if best is None else min(best, one.name[1])
            todo += children.get(one.name, [])
        return best

    path: list[tuple[Link, State]] = []
    state: State | None = None
    at: Name | None = None
    while children.get(at):
        good, bad = [], []
        for link in children[at]:
            try:
                good.append((link, judge(book, voucher, state, link)))
            except Bad as why:
                bad.append((link, str(why)))
        if report:
            for link, why in bad:
                if good:
                    book.counts["superseded records"] += 1
                else:
                    book.wrong(link.name[0], link.name[1], f"it does not count: {why}")
        if not good:
            break

        def rank(item: tuple[Link, State]) -> tuple:
            link, (kind, step) = item[0], item[0].step
            cause = step["cause"][1] if kind == "Voided" else step
            proofs = [step["position"]] if kind == "BookingLapsed" else cause.get("positions", []) if kind == "Voided" else []
            unproved = any(o.name[0] == p["institution"] and o.name[1] < p["index"] for p in proofs for o, _ in good if o is not link)
            seal = settled(link) if len(good) > 1 else None
            return unproved, seal is None, seal or 0, kind != "BookingLapsed", link.name[:2]

        good.sort(key=rank)
        if report and len(good) > 1:
            book.counts["superseded records"] += len(good) - 1
        link, state = good[0]
        path.append((link, state))
        at = link.name
    return path


# ---- statistics ------------------------------------------------------------------------------------------------------

MEASURES = {"Booked": "BookingRequested", "BookingConfirmed": "Booked", "UseConfirmed": "Used", "ExamCompleted": "Examined", "RedemptionClaimed": "Claimed", "ClaimRejected": "Rejected"}
MEASURE_ORDER = {part[0]: n for n, part in enumerate(MEASURE[1:])}


def events(path: list[tuple[Link, State]], offset: int) -> Iterator[tuple]:
    """(day, programme, community, hospital, measure) of each step that is counted."""
    before: State | None = None
    for link, after in path:
        kind = link.step[0]
        measure = MEASURES.get(kind, kind)
        hospital = before.hospital if before and before.hospital and not after.hospital else after.hospital
        row = (link.at + offset * 60_000) // 86_400_000, after.programme, after.community or (before and before.community), hospital
        if measure in MEASURE_ORDER:
            yield *row, measure
        if kind == "UseConfirmed" and link.step[1]["presentation"]["assisted"]:
            yield *row, "UsedAssisted"
        before = after


def recount(book: Ledger, name: Name, figures: dict) -> None:
    say = lambda what: book.wrong(name[0], name[1], f"statistics: {what}")
    sizes = {covered["institution"]: covered["size"] for covered in figures["covers"]}
    if len(sizes) != len(figures["covers"]):
        return say("a log is covered twice")
    for covered in figures["covers"]:
        leaves = book.leaves.get(covered["institution"])
        if leaves is None or len(leaves) < 32 * covered["size"]:
            book.counts["statistics beyond the export"] += 1
            return
        if root_of(leaves, covered["size"]) != covered["root"]:
            return say(f"the log of {covered['institution']} has another root at size {covered['size']}")
    first, last = ((t + figures["offset"] * 60_000) // 86_400_000 for t in (figures["from"], figures["until"] - 1))
    rows: Counter[tuple] = Counter()
    for voucher, links in book.chains.items():
        known = [link for link in links if link.name[1] < sizes.get(link.name[0], 0)]
        for row in events(fold(book, voucher, known, False), figures["offset"]):
            if first <= row[0] <= last and abs(row[0]) < 2**31:
                rows[row] += 1
    order = lambda row: (row[0], row[1], row[2] is not None, row[2] or "", row[3] is not None, row[3] or "", MEASURE_ORDER[row[4]])
    table, totals = len(rows).to_bytes(8, "little"), Counter()
    for row in sorted(rows, key=order):
        programme = dict(zip(("institution", "index", "id"), row[1]))
        table += write(ROW, {"day": row[0], "programme": programme, "community": row[2], "hospital": row[3], "measure": (row[4], {}), "count": rows[row]})
        totals[row[4]] += rows[row]
    published = {item["measure"][0]: item["count"] for item in figures["totals"]}
    if published != dict(totals):
        say(f"sums differ: published {published}, counted {dict(totals)}")
    elif sha256(table) != figures["table"] or len(rows) != figures["rows"]:
        say(f"the table differs: {figures['rows']} rows are published, {len(rows)} counted")
    book.counts["statistics recounted"] += 1


# ---- report ----------------------------------------------------------------------------------------------------------


def verify(base: Path, vkey_text: str) -> tuple[Ledger, dict[str, Counter[str]]]:
    try:
        vkey = parse_vkey(vkey_text)
    except Bad as bad:
        raise Unjudged(f"--registrar-vkey: {bad}") from None
    try:
        export = json.loads(read_file(base / "export.json", MAX_JSON))
        if export["version"] != 1:
            raise Unjudged(f"export.json: version {export['version']} is not known")
        registrar, logs = export["registrar"], [(log["institution"], log["origin"], log["dir"]) for log in export["logs"]]
        if not all(isinstance(text, str) and "\0" not in text for log in logs for text in log) or not isinstance(registrar, str):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unjudged("export.json: not an export of version 1") from None
    if registrar not in [log[0] for log in logs] or len({log[0] for log in logs}) != len(logs):
        raise Unjudged("export.json: the registrar's log is missing, or a log is there twice")
    book = Ledger(registrar)
    logs.sort(key=lambda log: (log[0] != registrar, log[0]))
    for institution, origin, directory in logs:
        book.read_log(base, institution, origin, directory, vkey if institution == registrar else None)
        if institution == registrar:
            if registrar not in book.leaves:
                return book, {}
            own = book.members.get(registrar)
            if own is None or vkey[1] not in [key for _, key in own.keys["Log"]]:
                book.wrong(registrar, 0, "it does not begin with its own registration under the key that was given")
    book.counts["members without a log here"] = len(set(book.members) - set(book.leaves))
    book.resolve()
    book.index_ctis()
    stages: dict[str, Counter[str]] = defaultdict(Counter)
    heads: dict[Name, State] = {}
    for voucher, links in book.chains.items():
        path = fold(book, voucher, links, True)
        first = next((link for link in links if link.step[0] == "Generated"), None)
        programme = f"{first.step[1]['programme']['institution']}.{first.step[1]['programme']['index']}" if first else "?"
        stages[programme]["generated in all"] += first is not None
        if path:
            stages[programme][path[-1][1].stage] += 1
            for link, state in path:
                heads[link.name] = state
    for programme, count in stages.items():
        total = sum(n for stage, n in count.items() if stage != "generated in all")
        if total != count["generated in all"]:
            book.wrong(programme.rsplit(".", 1)[0], None, f"programme {programme}: {count['generated in all']} generated, {total} accounted for")
    for voucher, about, link in book.notes:
        state = heads.get(about)
        if state is None:
            book.counts["notes beside the path"] += 1
        elif what := book.presented(link, voucher, book.enrolments.get(state.enrolment) if state.enrolment else None):
            book.wrong(link.name[0], link.name[1], f"the presentation of a note: {what}")
    for name, figures in book.statistics:
        recount(book, name, figures)
    return book, stages


def self_test() -> int:
    """Known answers: RFC 6962, the published note of the C2SP vectors, golden records (actors/src/golden.rs)."""
    failed = []

    def same(what: str, a: Any, b: Any) -> None:
        if a != b:
            failed.append(what)
            print(f"FAILED: {what}: {a!r} is not {b!r}")

    leaves = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")]
    roots = {0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
             2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125", 3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
             8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"}
    tree = Tree()
    for n in range(9):
        if n in roots:
            same(f"root of {n} leaves", tree.root().hex(), roots[n])
        if n < 8:
            tree.add(leaf_hash(leaves[n]))
    same("tile path", tile_path("0", 1234067, 5), "tile/0/x001/x234/067.p/5")
    name, key = parse_vkey("ledger.example/issuer-01+1d94e11b+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4")
    text = ("ledger.example/issuer-01\n1\nhH2/O6WqM8SXbRrP04wkRcdxBnXjSED3frqPG1Slmqo=\n\n\u2014 ledger.example/issuer-01 "
            "HZThG71HvvKZYD41ipu8Chlv8sT4kqR501OtfXenQDsvbW27PR/szqyY61giU6XbqbDN9k5eyT1tVUBv1XsdjgNYnwo=\n")
    same("note", parse_note(text.encode()).signed_by(name, key), True)
    same("forged note", parse_note(text.replace("\n1\n", "\n2\n").encode()).signed_by(name, key), False)
    token = parse_token(bytes.fromhex("d2844da20127044856475aa75463474ca05834a3061a6ae681000748c0c1c2c3c4c5c6c720582003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b858403f90a10d5d8c601b11ad9873bc1eaf85f0efa53eec58a547d3a669d2935c85eab34290d29b6519dcfc7115de355c7471b5f3ad5d2f2933467c3ecb1f36c59f09"), 172)
    same("token", token.verifies(("Ed25519", {"key": key})), True)

    span = lambda first, n: bytes((first + i) % 256 for i in range(n))
    named = lambda n: {"institution": "nanjing-health", "index": n, "id": span(n, 32)}
    at = lambda n: 1_790_000_000_000 + n
    voucher = {"issuer": "nanjing-health", "uuid": span(0x40, 16)}
    chain = lambda step: ("Chain", {"voucher": voucher, "prev": named(7), "registrar": named(9), "step": step})
    policy = {"name": "ecg", "title_zh": "心电图", "title_en": "ECG", "service": "ecg", "department": "市卫健委", "classes": [("Elderly", {}), ("Disabled", {})],
              "validity_days": 90, "vouchers_per_holder": 2, "departments": ["cardiology"], "card_allowed": True}
    figures = {"from": at(0), "until": at(1), "offset": 480, "covers": [{"institution": "a", "size": 5, "root": span(8, 32)}],
               "table": span(9, 32), "rows": 3, "totals": [{"measure": ("Voided", {}), "count": 4}]}
    golden = [
        (chain(("Generated", {"programme": named(2), "valid_from": at(1), "valid_until": at(2)})), True, "dd8d0be6fad58ee891f4ff3f8ec5c30edbe129900720ca5132bcf798bdca2642"),
        (chain(("Encoded", {"token": "VQ1:ABC"})), False, "5e07b81723c3f2631c589cc73e7dbb41c44db4d121a623c5835ca8348a20e5c9"),
        (chain(("RedemptionClaimed", {"answers": named(8)})), False, "0bdeaf0930657b0a71631e15e603c8d51c13be44b829d56c472b4fa22c741d11"),
        (chain(("Redeemed", {})), True, "0428bdca68093725ca4c4778e3bda9740affdab909bf6a305ba1fcb0721e6827"),
        (("Programme", {"event": ("Changed", {"programme": named(1), "policy": policy})}), True, "86c5d6ed96d4787b9d1df3a2d7b8607a169d3bf6819fbb2dca071ceb2f394af0"),
        (("Statistics", {"figures": figures}), False, "5187c606677ee44afd64ad34e319aae6f6e44a95d40baa4b70adf8e63f9c9943"),
        (("Heartbeat", {}), True, "c0d448013c92ecba47505ff6e952fa110d928fac07f064ba59cd9f7b9ea7c491"),
        (("Approved", {"record": named(7), "approver": span(0x80, 16)}), True, "866e9a3b10bd7026df3ab1bc50bc0abcb64100ff3c8ee3254b0751507428307d"),
    ]
    for body, acted, expected in golden:
        record = {"institution": "nanjing-health", "index": 0x01020304, "role": ("Issuer", {}), "at": at(3_600_000), "body": body,
                  "operator": span(0x70, 16) if acted else None, "idempotency": {"key": span(1, 32), "request": span(2, 32)} if acted else None}
        entry = b"\x01" + write(RECORD, record)
        same(f"golden {body[0]}", leaf_hash(entry).hex(), expected)
        same(f"decoded {body[0]}", decode(entry), record)
    print("self-test: " + ("FAILED" if failed else "good"))
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Verifies an export of the voucher ledger. 0: verified, 1: wrong, 2: cannot be judged.")
    parser.add_argument("dir", nargs="?", type=Path)
    parser.add_argument("--registrar-vkey", metavar="VKEY", help="the registrar's log verification key, the only thing trusted")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--self-test", action="store_true", help="check known answers and end")
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    if args.dir is None or args.registrar_vkey is None:
        parser.error("DIR and --registrar-vkey are needed")
    try:
        book, stages = verify(args.dir, args.registrar_vkey)
    except (Unjudged, OSError) as why:
        print(json.dumps({"verdict": "unjudged", "why": str(why)}) if args.json else f"cannot be judged: {why}")
        return 2
    verdict = "wrong" if book.findings else "verified"
    if args.json:
        print(json.dumps({"verdict": verdict, "findings": book.findings, "more": book.more, "counts": book.counts, "stages": stages}, ensure_ascii=False, indent=1))
    else:
        for finding in book.findings:
            place = finding["log"] + ("" if finding["index"] is None else f".{finding['index']}")
            print(f"WRONG {place}: {finding['what']}")
        if book.more:
            print(f"and {book.more} more")
        for what, n in sorted(book.counts.items()):
            print(f"{n:>8} {what}")
        for programme, count in sorted(stages.items()):
            print(f"programme {programme}: " + ", ".join(f"{n} {stage}" for stage, n in sorted(count.items())))
        print(verdict)
    return 1 if book.findings else 0


if __name__ == "__main__":
    sys.exit(main())
