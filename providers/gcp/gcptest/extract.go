//go:build ignore

// This program writes discovery.json: what the tests' server knows of Compute's API. It is an extract of the discovery document
// that Google publishes in module google.golang.org/api: the collections that provider gcp and gcloud use, without texts.
//
//	go run extract.go < $(go list -m -f '{{.Dir}}' google.golang.org/api)/compute/v1/compute-api.json > discovery.json
package main

import (
	"encoding/json"
	"log"
	"os"
	"strings"
)

const collections = `addresses diskTypes disks firewalls forwardingRules globalOperations images instances machineTypes
	networkEndpointGroups networks projects regionBackendServices regionHealthChecks regionOperations regions routers routes snapshots
	subnetworks zoneOperations zones`

const verbs = `aggregatedList attachDisk attachNetworkEndpoints delete detachDisk detachNetworkEndpoints get getFromFamily
	getSerialPortOutput insert list listNetworkEndpoints patch resize resume setLabels setMetadata setTags start stop update wait`

type object = map[string]any

func main() {
	var all struct {
		Revision  string
		Resources map[string]struct{ Methods map[string]object }
		Schemas   map[string]object
	}
	if err := json.NewDecoder(os.Stdin).Decode(&all); err != nil {
		log.Fatal(err)
	}
	out := struct {
		Revision string            `json:"revision"`
		Methods  map[string]object `json:"methods"`
		Schemas  map[string]any    `json:"schemas"`
	}{all.Revision, map[string]object{}, map[string]any{}}
	var need func(v any)
	need = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				need(x)
			}
		case object:
			if name, ok := v["$ref"].(string); ok && out.Schemas[name] == nil {
				out.Schemas[name] = strip(all.Schemas[name])
				need(out.Schemas[name])
			}
			for _, x := range v {
				need(x)
			}
		}
	}
	for _, c := range strings.Fields(collections) {
		for name, m := range all.Resources[c].Methods {
			if !strings.Contains(" "+strings.Join(strings.Fields(verbs), " ")+" ", " "+name+" ") {
				continue
			}
			params := object{}
			for p, v := range m["parameters"].(object) {
				params[p] = v.(object)["location"]
			}
			short := object{"path": m["flatPath"], "verb": m["httpMethod"], "params": params}
			if r, ok := m["request"]; ok {
				short["request"] = r.(object)["$ref"]
				need(r)
			}
			out.Methods[m["id"].(string)] = short
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		log.Fatal(err)
	}
	os.Stdout.Write(append(data, '\n'))
}

// strip leaves of a schema what says what is accepted.
func strip(s object) object {
	out := object{}
	for k, v := range s {
		switch k {
		case "type", "$ref", "format", "enum", "pattern", "readOnly":
			out[k] = v
		case "items", "additionalProperties":
			out[k] = strip(v.(object))
		case "properties":
			p := object{}
			for name, x := range v.(object) {
				p[name] = strip(x.(object))
			}
			out[k] = p
		}
	}
	return out
}
