# Read by the start script of PostgreSQL's image, under its set -e, when the data folder is empty: a database for each
# service, and a user who owns it.
for name in prefect mlflow studies; do
  password="$(printenv "$(echo "${name}_PASSWORD" | tr '[:lower:]' '[:upper:]')")"
  psql --set=ON_ERROR_STOP=1 --username=postgres --set=name="$name" --set=password="$password" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
done
