module stillhouse.test/gophertelekomcloud

go 1.22

require github.com/opentelekomcloud/gophertelekomcloud v0.9.4

require gopkg.in/yaml.v2 v2.3.0 // indirect
