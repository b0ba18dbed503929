#!/usr/bin/env python3
"""An outsider's second opinion on an export of the voucher ledger.

    scripts/verify_export.py DIR --registrar-vkey VKEY [--json]
    scripts/verify_export.py --self-test

It shares no code with the nodes: it was written from docs/record-format.md, docs/protocol.md and the C2SP specifications
(signed-note, tlog-checkpoint, tlog-tiles, tlog-cosignature). The only thing that it trusts is the registrar's log key, VKEY.
From it follows everything else:

    VKEY -> the registrar's signed head -> every entry under its root -> members' keys, enrolments, suspensions
         -> every member's signed head  -> every entry under that     -> vouchers, figures

Read it from top to bottom: bytes, Merkle trees, notes, records, tokens, membership, vouchers, statistics, report.
Bundles are read one at a time; what stays in memory is 32 bytes for each entry and the chain records themselves.

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
FINDING = fields(("kind", words("Fork, RootMismatch, BadRecord, ClockWentBack, RuleBroken, SecondSuccessor, BadPresentation, PresentationTwice, StatisticsDiffer, TakenBackWrongly, SettledBeforeKnown, UseDisputed, NotConserved, OverlappingPresence")),
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

