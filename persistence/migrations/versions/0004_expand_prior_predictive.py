"""What a registered model says of its data set a priori."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLE, COLUMN = "bayesian_model_metadata", "prior_predictive"


def upgrade() -> None:
    # It may be empty, so that servers of the previous version can go on writing.
    op.add_column(TABLE, sa.Column(COLUMN, postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column(TABLE, COLUMN)
