# The topology of BenchmarkMakespan, as a person would write it for Terraform: a network in three zones, three control-plane machines
# behind a balancer, and two workers.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "endpoint" {}
variable "image" {}

provider "aws" {
  region                      = "eu-west-1"
  access_key                  = "AKIATEST"
  secret_key                  = "secret"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints {
    ec2   = var.endpoint
    elbv2 = var.endpoint
    iam   = var.endpoint
    sts   = var.endpoint
  }
  default_tags { tags = { cluster = "demo" } }
}

locals { zones = ["a", "b", "c"] }

resource "aws_vpc" "main" { cidr_block = "10.20.0.0/16" }
resource "aws_internet_gateway" "main" { vpc_id = aws_vpc.main.id }
resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.main.id
  }
}
resource "aws_subnet" "public" {
  count             = 3
  vpc_id            = aws_vpc.main.id
  availability_zone = "eu-west-1${local.zones[count.index]}"
  cidr_block        = cidrsubnet("10.20.0.0/16", 4, count.index)
}
resource "aws_subnet" "private" {
  count             = 3
  vpc_id            = aws_vpc.main.id
  availability_zone = "eu-west-1${local.zones[count.index]}"
  cidr_block        = cidrsubnet("10.20.0.0/16", 4, 8 + count.index)
}
resource "aws_route_table_association" "public" {
  count          = 3
  route_table_id = aws_route_table.public.id
  subnet_id      = aws_subnet.public[count.index].id
}
resource "aws_security_group" "nodes" {
  name   = "nodes"
  vpc_id = aws_vpc.main.id
  ingress {
    protocol  = "-1"
    from_port = 0
    to_port   = 0
    self      = true
  }
  ingress {
    protocol    = "tcp"
    from_port   = 22
    to_port     = 22
    cidr_blocks = ["203.0.113.0/24"]
  }
  ingress {
    protocol        = "tcp"
    from_port       = 6443
    to_port         = 6443
    security_groups = [aws_security_group.balancer.id]
  }
}
resource "aws_security_group" "control" {
  name   = "control-plane"
  vpc_id = aws_vpc.main.id
  ingress {
    protocol  = "tcp"
    from_port = 2379
    to_port   = 2380
    self      = true
  }
}
resource "aws_security_group" "balancer" {
  name   = "balancer"
  vpc_id = aws_vpc.main.id
  ingress {
    protocol    = "tcp"
    from_port   = 6443
    to_port     = 6443
    cidr_blocks = ["203.0.113.0/24"]
  }
}
resource "aws_instance" "control" {
  count                       = 3
  ami                         = var.image
  instance_type               = "t3.medium"
  subnet_id                   = aws_subnet.public[count.index].id
  vpc_security_group_ids      = [aws_security_group.nodes.id, aws_security_group.control.id]
  associate_public_ip_address = true
  tags                        = { Name = "demo-cp-${count.index}" }
}
resource "aws_instance" "worker" {
  count                       = 2
  ami                         = var.image
  instance_type               = "t3.medium"
  subnet_id                   = aws_subnet.public[count.index].id
  vpc_security_group_ids      = [aws_security_group.nodes.id]
  associate_public_ip_address = true
  tags                        = { Name = "demo-workers-${count.index}" }
}
resource "aws_lb" "api" {
  name               = "api"
  load_balancer_type = "network"
  subnets            = aws_subnet.public[*].id
  security_groups    = [aws_security_group.balancer.id]
}
resource "aws_lb_target_group" "api" {
  name     = "api"
  port     = 6443
  protocol = "TCP"
  vpc_id   = aws_vpc.main.id
}
resource "aws_lb_target_group_attachment" "api" {
  count            = 3
  target_group_arn = aws_lb_target_group.api.arn
  target_id        = aws_instance.control[count.index].id
}
resource "aws_lb_listener" "api" {
  load_balancer_arn = aws_lb.api.arn
  port              = 6443
  protocol          = "TCP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.api.arn
  }
}
