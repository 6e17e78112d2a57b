"""The tables by which the processes of the service know of each other."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Column, true
from sqlmodel import Field, SQLModel

from store.column import time_column


class FleetClockRow(SQLModel, table=True):
    """One row: the number of the last transaction that changed what placements depend on."""

    __tablename__ = "fleet_clock"

    id: int = Field(default=1, primary_key=True)
    value: int = Field(sa_column=Column(BigInteger, nullable=False))


class GatewayRow(SQLModel, table=True):
    __tablename__ = "gateway"

    id: str = Field(primary_key=True)
    started_at: datetime = Field(sa_column=time_column())
    beat_at: datetime = Field(sa_column=time_column())
    reaches_temporal: bool = Field(
        default=True, sa_column=Column(Boolean, nullable=False, server_default=true())
    )


class SecretRow(SQLModel, table=True):
    """What all gateways of a store must share, and nobody else may know."""

    __tablename__ = "secret"

    name: str = Field(primary_key=True)
    value: str


class LeaseRow(SQLModel, table=True):
    __tablename__ = "lease"

    name: str = Field(primary_key=True)
    holder: str
    expires_at: datetime = Field(sa_column=time_column())
