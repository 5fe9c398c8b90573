"""What settings tell of themselves.

pytest tests/unit/test_settings.py
"""

from pydantic import SecretStr

from adodn.settings import Settings


def test_no_secret_is_printed() -> None:
    """Neither a key nor the password in a database's address."""
    hidden = SecretStr("hush")
    places = Settings(
        study_url="postgresql+psycopg://studies:hush@db/studies", s3_secret_key=hidden, mlflow_password=hidden
    )

    assert "hush" not in repr(places) + str(places)
    assert "hush" in places.study_url
