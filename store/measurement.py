"""The tables of what is measured of the network, and of what follows from it."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, LargeBinary
from sqlmodel import Field, SQLModel

from gamepipe.scheduling.probe import Sample
from store.column import json_column, time_column


class ProbeRow(SQLModel, table=True):
    """What all probes from a region or a node to a node come to (`gamepipe.scheduling.probe`)."""

    __tablename__ = "probe"

    kind: str = Field(primary_key=True)
    """Of the source: region or node."""
    source: str = Field(primary_key=True)
    node_id: str = Field(primary_key=True, index=True)
    rtt_ms: float
    jitter_ms: float
    weight: float
    samples: int = Field(sa_column=Column(BigInteger, nullable=False))
    last_at: datetime = Field(sa_column=time_column(index=True))
    """Of the newest probe."""
    written_at: datetime = Field(sa_column=time_column(index=True))
    kept: tuple[Sample, ...] = Field(sa_column=json_column(tuple[Sample, ...]))


class RegionRow(SQLModel, table=True):
    """Where players of a region are, as people said."""

    __tablename__ = "region"

    name: str = Field(primary_key=True)
    latitude: float
    longitude: float
    updated_at: datetime = Field(sa_column=time_column())


class NetworkRow(SQLModel, table=True):
    """Of one row: what the measured ways say of the others (`gamepipe.scheduling.network`)."""

    __tablename__ = "network"

    id: int = Field(default=1, primary_key=True)
    fitted_at: datetime = Field(sa_column=time_column())
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """JSON, compressed."""
