"""Storage of liftos-bayes: tables, repositories, migrations and the embedded Postgres."""
