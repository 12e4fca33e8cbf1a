resource "aws_db_subnet_group" "database" {
  name        = "${var.name}-postgres"
  description = "PostgreSQL of the recommender platform"
  subnet_ids  = var.subnet_ids
}

resource "aws_security_group" "database" {
  name        = "${var.name}-postgres"
  description = "PostgreSQL of the recommender platform"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = aws_security_group.database.id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  referenced_security_group_id = var.client_security_group_id
}

resource "aws_db_instance" "database" {
  identifier                  = "${var.name}-postgres"
  engine                      = "postgres"
  engine_version              = "17.9"
  instance_class              = var.database_class
  db_name                     = "dagster"
  allocated_storage           = 50
  storage_type                = "gp3"
  storage_encrypted           = true
  username                    = "recsys_admin"
  manage_master_user_password = true # in Secrets Manager, which rotates it
  publicly_accessible         = false
  multi_az                    = true
  backup_retention_period     = 14
  deletion_protection         = true
  skip_final_snapshot         = false
  final_snapshot_identifier   = "${var.name}-postgres-final"
  db_subnet_group_name        = aws_db_subnet_group.database.name
  vpc_security_group_ids      = [aws_security_group.database.id]
}
