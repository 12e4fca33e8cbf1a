variable "name" {
  type        = string
  default     = "recsys"
  description = "Begins the name of everything; the account's number ends those of buckets."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.name))
    error_message = "2 to 21 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  type        = list(string)
  description = "Private subnets of two zones at least, for the database."
}

variable "client_security_group_id" {
  type        = string
  description = "What may connect to the database, as the nodes of your cluster."
}

variable "trusted_principal_arn" {
  type        = string
  description = "Who assumes the roles of the graph and of the API, as the role of your cluster's nodes or its OIDC provider."
  validation {
    condition     = can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:.+$", var.trusted_principal_arn))
    error_message = "The ARN of an IAM principal."
  }
}

variable "database_class" {
  type    = string
  default = "db.t4g.medium"
}
