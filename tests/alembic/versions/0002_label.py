"""One more column, so that the head is not the first revision."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_label"
down_revision = "0001_reference"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what the source does not have."""
    op.add_column("sessions", sa.Column("label", sa.String(40), nullable=True))
