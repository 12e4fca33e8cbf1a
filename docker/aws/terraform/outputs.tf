output "landing_uri" {
  value = "s3://${aws_s3_bucket.data.id}/landing"
}

output "storage_uri" {
  value = "s3://${aws_s3_bucket.data.id}/store"
}

output "cold_uri" {
  value = "s3://${aws_s3_bucket.cold.id}"
}

output "database_host" {
  value = aws_db_instance.database.address
}

output "graph_role_arn" {
  value = aws_iam_role.graph.arn
}

output "api_role_arn" {
  value = aws_iam_role.api.arn
}

output "spark_role_arn" {
  value = aws_iam_role.spark.arn
}
