# Publishes Debian's own cloud image, made a RightImage, for everybody. The
# workflow .github/workflows/publish-example.yml runs it.
#
#   packer build -var 'regions=["eu-west-1", "us-east-1"]' example/public/public.pkr.hcl

packer {
  required_plugins {
    rightimage = {
      source  = "github.com/rightimage/rightimage"
      version = ">= 0.1.0"
    }
  }
}

variable "source" {
  type        = string
  default     = "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2"
  description = "Path or URL of the disk to start from."
}

variable "checksum" {
  type        = string
  default     = "file:https://cloud.debian.org/images/cloud/bookworm/latest/SHA512SUMS"
  description = "Checksum of the disk, or none for a local file."
}

variable "regions" {
  type        = list(string)
  description = "Regions to publish the AMI in."
}

variable "output_directory" {
  type    = string
  default = "output-public"
}

variable "commit" {
  type        = string
  default     = ""
  description = "What this was built from, for a tag."
}

source "rightimage-disk" "debian" {
  iso_url          = var.source
  iso_checksum     = var.checksum
  output_directory = var.output_directory

  regions         = var.regions
  ami_name        = "rightimage-debian-12-{{ timestamp }}"
  ami_description = "Debian 12 RightImage"
  ami_groups      = ["all"] # for everybody; verified first
  family          = "rightimage-debian-12"
  keep_newest     = 5
  deprecate_after = "365d"
  tags = {
    Family = "rightimage-debian-12"
    Commit = var.commit
  }
}

build {
  sources = ["source.rightimage-disk.debian"]

  provisioner "rightimage" {
    cloud = "ec2"
  }
}
