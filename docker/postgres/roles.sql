-- A database and a role for each part of the platform. A role owns its database, and reaches no other.
-- PostgreSQL's image runs this when its volume is new; passwords come from the environment.
\set ON_ERROR_STOP on
\getenv dagster_password DAGSTER_DB_PASSWORD
\getenv mlflow_password MLFLOW_DB_PASSWORD
\getenv events_password EVENTS_DB_PASSWORD
\getenv recommendations_password RECOMMENDATIONS_DB_PASSWORD

create role dagster login nosuperuser nocreatedb nocreaterole password :'dagster_password';
create role mlflow login nosuperuser nocreatedb nocreaterole password :'mlflow_password';
create role events login nosuperuser nocreatedb nocreaterole password :'events_password';
create role recommendations login nosuperuser nocreatedb nocreaterole password :'recommendations_password';

create database dagster owner dagster;
create database mlflow owner mlflow;
create database events owner events;
create database recommendations owner recommendations;

-- Everybody may connect to every database otherwise.
revoke all on database postgres, template1, dagster, mlflow, events, recommendations from public;
