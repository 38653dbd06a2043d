# What the registry of integrations shows; written by "make generate".
integration {
  name        = "RightImage"
  description = "Publish Linux images that configure themselves, as AMIs in many regions, without a build instance."
  identifier  = "packer/rightimage/rightimage"
  flags       = ["hcp-ready"]
  docs {
    process_docs    = true
    readme_location = "./README.md"
    external_url    = "https://github.com/rightimage/packer-plugin-rightimage"
  }
  license {
    type = "MPL-2.0"
    url  = "https://github.com/rightimage/packer-plugin-rightimage/blob/main/LICENSE"
  }
  component {
    type = "builder"
    name = "RightImage of a disk"
    slug = "disk"
  }
  component {
    type = "builder"
    name = "RightImage of a machine"
    slug = "ebs"
  }
  component {
    type = "provisioner"
    name = "RightImage"
    slug = "rightimage"
  }
  component {
    type = "post-processor"
    name = "RightImage publish"
    slug = "publish"
  }
  component {
    type = "data-source"
    name = "RightImage AMI"
    slug = "ami"
  }
}
