"""Packaging of conpaassql; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'VERSION = "(.+)"', (HERE / "src/conpaassql/__init__.py").read_text()).group(1)

setup(
    name="conpaassql",
    version=VERSION,
    description="MySQL and MariaDB as a service on OpenNebula",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    # The top-level templates/ travel in the wheel as a package of data files.
    packages=[*find_packages("src"), "conpaassql.templates"],
    package_dir={"": "src", "conpaassql.templates": "templates"},
    package_data={"conpaassql.templates": ["*", "*/*"], "conpaassql": ["py.typed", "manager/migrations/*"]},
    install_requires=[
        "alembic>=1.13,<2",
        "apache-libcloud>=3.8,<4",
        "click>=8.1,<9",
        "cryptography>=43",
        "Jinja2>=3.1,<4",
        "lxml>=5",
        "msgspec>=0.20,<1",
        "mysqlclient>=2.2,<3",
        "pycurl>=7.45.3,<8",
        "pyone>=6.10,<8",
        "python-multipart>=0.0.20,<1",
        "requests>=2.32,<3",
        "rich>=13.7",
        "SQLAlchemy>=2.0.30,<3",
        "starlette>=1,<2",
        "urllib3>=2.3,<3",
        "uvicorn>=0.30,<1",
    ],
    extras_require={
        "test": [
            "hypothesis>=6.100",
            "import-linter>=2",
            "moto[ec2,server]>=5,<6",
            "mypy>=1.13",
            "pytest>=8,<10",
            "pytest-xdist>=3.6",
            "ruff>=0.8",
            "types-requests",
            "types-pycurl",
            "types-mysqlclient",
        ],
    },
    entry_points={
        "console_scripts": [
            "conpaassql-manager=conpaassql.cli:manager_main",
            "conpaassql-agent=conpaassql.agent_cli:main",
            "conpaassql=conpaassql.client.command:main",
        ]
    },
)
