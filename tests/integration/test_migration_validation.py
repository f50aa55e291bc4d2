"""The three public classes, used as their specification uses them: move, compare, report."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from bench.dataset import fill
from bench.reference import TABLES, schema_script
from migration import Database, DataMigrationService, MigrationValidator, Options, open_database
from tests import oracle
from tests.conftest import FreshDatabase

# Two of the schemas are not alike, and the user says what they mean.
OPTIONS = {
    "mariadb": Options(
        mapping={"agent_memory.key": "agent_memory.key_name"},
        # Whole seconds; and a column that sets itself where the others have a trigger.
        accept=("time-rounded",),
    )
}
REPORT_KEYS = {"timestamp", "validation_passed", "error_count", "errors"}


class TestMigrationValidation:
    """A source with the reference application's data, and an empty target of each engine."""

    @pytest.fixture
    async def source(self, tmp_path: Path) -> AsyncIterator[Database]:
        fill(tmp_path / "source.db", 0.005, 1)
        async with open_database(tmp_path / "source.db", is_source=True) as source:
            yield source

    @pytest.fixture
    def target_url(self, fresh_database: FreshDatabase, engine: str) -> str:
        return fresh_database(engine)

    @pytest.fixture
    async def target(self, target_url: str) -> AsyncIterator[Database]:
        async with open_database(target_url) as target:
            yield target

    @pytest.fixture
    def options(self, engine: str) -> Options:
        return OPTIONS.get(engine, Options())

    @pytest.fixture
    async def service(self, source: Database, target: Database, options: Options) -> DataMigrationService:
        """A service into a target with the application's own schema, less the row its script inserts."""
        script = schema_script(target.backend.name)
        await oracle.run(
            target.url.render_as_string(hide_password=False), script + "DELETE FROM schema_version;"
        )
        return DataMigrationService(source, target, options=options)

    async def test_a_complete_migration_preserves_every_row(
        self, service: DataMigrationService, options: Options, source: Database, target: Database
    ) -> None:
        assert await service.migrate_data(), service.error
        validator = MigrationValidator(source, target, mapping=options.mapping)
        assert await validator.validate_schema_compatibility(), validator.validation_errors
        assert await validator.validate_data_integrity(), validator.validation_errors
        assert validator.validation_errors == []
        report = validator.get_validation_report()
        assert report.keys() >= REPORT_KEYS
        assert report["validation_passed"] is True
        assert report["error_count"] == 0
        assert report["errors"] == []
        assert datetime.fromisoformat(report["timestamp"]).tzinfo is not None
        assert {table["table"] for table in report["tables"]} == set(TABLES)
        json.dumps(report)

    async def test_relationships_are_preserved(
        self, service: DataMigrationService, source: Database, target_url: str
    ) -> None:
        assert await service.migrate_data()
        query = (
            "SELECT s.id, count(m.id) FROM sessions s"
            " LEFT JOIN messages m ON m.session_id = s.id GROUP BY s.id"
        )
        ours = await oracle.rows(source.url.render_as_string(), query)
        assert sorted(await oracle.rows(target_url, query)) == sorted(ours)

    async def test_a_backup_is_made_first(self, service: DataMigrationService, tmp_path: Path) -> None:
        assert await service.migrate_data(backup_path=str(tmp_path / "backups"))
        messages = [entry["message"] for entry in service.migration_log]
        assert messages.count("backup") == 2
        assert messages.index("backup") < messages.index("prepared")
        assert len(list((tmp_path / "backups").glob("*/*.manifest.json"))) == 2

    async def test_the_log_tells_what_happened_and_can_be_saved(
        self, service: DataMigrationService, tmp_path: Path
    ) -> None:
        assert await service.migrate_data()
        service.save_migration_log(str(tmp_path / "log.json"))
        entries = json.loads((tmp_path / "log.json").read_text())
        assert entries == service.migration_log
        assert [set(entry) for entry in entries] == [{"timestamp", "message", "details"}] * len(entries)
        assert entries[-1]["message"] == "proved"

    async def test_damage_after_the_migration_is_named(
        self,
        service: DataMigrationService,
        options: Options,
        source: Database,
        target: Database,
        target_url: str,
    ) -> None:
        assert await service.migrate_data()
        await oracle.run(target_url, "UPDATE messages SET content = 'another' WHERE id = 17")
        validator = MigrationValidator(source, target, mapping=options.mapping)
        assert not await validator.validate_data_integrity()
        report = validator.get_validation_report()
        assert report["validation_passed"] is False
        assert report["error_count"] == 1
        (error,) = report["errors"]
        assert error.startswith("changed value in messages.content [id=17]: ")
        assert validator.validation_errors == report["errors"]

    async def test_a_table_that_is_missing_is_named(
        self,
        service: DataMigrationService,
        options: Options,
        source: Database,
        target: Database,
        target_url: str,
    ) -> None:
        assert await service.migrate_data()
        await oracle.run(target_url, "DROP TABLE secure_tokens")
        validator = MigrationValidator(source, target, mapping=options.mapping)
        assert not await validator.validate_schema_compatibility()
        assert "missing table in secure_tokens" in validator.validation_errors
        assert not await validator.validate_data_integrity()
        (table,) = [t for t in validator.report.tables if t.table == "secure_tokens"]
        assert table.missing_count == table.source.row_count > 0

    async def test_a_migration_that_fails_says_no_and_why(
        self, service: DataMigrationService, source: Database, target_url: str
    ) -> None:
        await oracle.run(
            target_url, "INSERT INTO sessions (id, purpose, created_by) VALUES ('own', 'own', 'own')"
        )
        before = await oracle.dump(target_url)
        assert not await service.migrate_data()
        assert service.error is not None
        assert service.error.exit_code == 3
        assert service.migration_log[-1]["message"] == "failed"
        assert await oracle.dump(target_url) == before

    async def test_a_lost_connection_is_no_missing_table(
        self,
        service: DataMigrationService,
        options: Options,
        source: Database,
        target: Database,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        assert await service.migrate_data()

        def nobody(*_: object, **__: object) -> None:
            raise ConnectionRefusedError(111, "Connection refused")

        monkeypatch.setattr(target.backend, "snapshot", nobody)
        validator = MigrationValidator(source, target, mapping=options.mapping)
        assert not await validator.validate_schema_compatibility()
        assert not await validator.validate_data_integrity()
        report = validator.get_validation_report()
        assert report["verdict"] == "could not look"
        assert report["validation_passed"] is False
        assert not [error for error in report["errors"] if "missing" in error]
