# A RightImage is taken apart and made again on a build machine.

variable "source_ami" { type = string }
variable "region" { type = string }
variable "ami_name" { type = string }
variable "build_keys" { type = string }

source "rightimage-ebs" "machine" {
  region        = var.region
  source_ami    = var.source_ami
  instance_type = "t3.small"
  ssh_username  = "root"
  ssh_timeout   = "10m"
  ami_name      = var.ami_name
  tags          = { Source = "{{ .SourceAMI }}", Machine = "{{ .InstanceID }}" }
  run_tags      = { Name = "build of {{ .SourceAMIName }}" }

  temporary_iam_instance_profile_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "logs:*", Resource = "*" }]
  })
  launch_block_device_mappings {
    device_name           = "/dev/sdf"
    volume_size           = 1
    delete_on_termination = false
  }
}

build {
  sources = ["source.rightimage-ebs.machine"]

  provisioner "shell" {
    inline = [
      "test -b /dev/vdb",
      "cp /root/.ssh/authorized_keys /tmp/build-keys",
      "! dpkg --status rightlink >/dev/null 2>&1 || dpkg --purge rightlink",
      "/opt/rightscale/bin/bootstrap uninstall",
      "test ! -e /opt/rightscale/bin/bootstrap",
      "echo 'made of ${build.SourceAMI} in ${build.BuildRegion} on ${build.InstanceID}' > /etc/ebs-build",
    ]
  }
  provisioner "file" {
    direction   = "download"
    source      = "/tmp/build-keys"
    destination = var.build_keys
  }
  provisioner "rightimage" {
    cloud = "ec2"
  }
}
