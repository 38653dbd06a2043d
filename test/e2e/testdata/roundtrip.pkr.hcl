# Provisions a disk with RightLink installed, takes everything out again, and
# fetches a listing of the root file system before and after.

variable "base_disk" { type = string }
variable "output_directory" { type = string }
variable "listing" { type = string }
variable "results" { type = string }

source "rightimage-disk" "roundtrip" {
  iso_url          = var.base_disk
  iso_checksum     = "none"
  output_directory = var.output_directory
}

build {
  sources = ["source.rightimage-disk.roundtrip"]

  provisioner "file" {
    source      = var.listing
    destination = "/tmp/listing.sh"
  }
  provisioner "shell" {
    inline = ["sh /tmp/listing.sh > /tmp/before"]
  }
  provisioner "rightimage" {
    cloud = "ec2"
    mode  = "preinstalled"
    # What is told apart here is what bootstrap does; a clean-up is not undone.
    clean  = false
    verify = false
  }
  provisioner "shell" {
    inline = [
      "sh /tmp/listing.sh > /tmp/provisioned",
      "test -x /opt/rightscale/bin/rightlink",
      "dpkg --purge rightlink",
      "/opt/rightscale/bin/bootstrap uninstall",
      "sh /tmp/listing.sh > /tmp/after",
    ]
  }
  provisioner "file" {
    direction   = "download"
    sources     = ["/tmp/before", "/tmp/provisioned", "/tmp/after"]
    destination = var.results
  }
}
