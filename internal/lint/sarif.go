package lint

import (
	"encoding/json"
	"net/url"
	"path/filepath"
)

// SARIF returns a report as SARIF 2.1.0 (OASIS Static Analysis Results Interchange
// Format), the form in which code hosts show findings. file is the path of the model
// as it shall be shown; a node is a logical location in it, as binary files have no
// lines.
func SARIF(file, version string, report *Report, rules []*Rule) ([]byte, error) {
	type text struct {
		Text string `json:"text"`
	}
	type configuration struct {
		Level Level `json:"level"`
	}
	type descriptor struct {
		ID                   string         `json:"id"`
		ShortDescription     text           `json:"shortDescription"`
		Help                 text           `json:"help"`
		DefaultConfiguration configuration  `json:"defaultConfiguration"`
		Properties           map[string]any `json:"properties"`
	}
	type artifact struct {
		URI string `json:"uri"`
	}
	type physical struct {
		ArtifactLocation artifact `json:"artifactLocation"`
	}
	type logical struct {
		FullyQualifiedName string `json:"fullyQualifiedName"`
		Kind               string `json:"kind"`
	}
	type location struct {
		PhysicalLocation physical  `json:"physicalLocation"`
		LogicalLocations []logical `json:"logicalLocations,omitempty"`
	}
	type result struct {
		RuleID    string     `json:"ruleId"`
		RuleIndex int        `json:"ruleIndex"`
		Level     Level      `json:"level"`
		Message   text       `json:"message"`
		Locations []location `json:"locations"`
	}
	type driver struct {
		Name           string       `json:"name"`
		Version        string       `json:"version"`
		InformationURI string       `json:"informationUri"`
		Rules          []descriptor `json:"rules"`
	}
	type tool struct {
		Driver driver `json:"driver"`
	}
	type run struct {
		Tool    tool     `json:"tool"`
		Results []result `json:"results"`
	}
	d := driver{Name: "daq lint", Version: version, InformationURI: "https://github.com/daq-sr/daq", Rules: []descriptor{}}
	index := map[string]int{}
	for i, r := range rules {
		index[r.ID] = i
		d.Rules = append(d.Rules, descriptor{
			ID: r.ID, ShortDescription: text{r.Title}, Help: text{r.Remedy}, DefaultConfiguration: configuration{r.Level},
			Properties: map[string]any{"releases": r.Releases(), "basis": r.Basis},
		})
	}
	results := []result{}
	for _, f := range report.Findings {
		at := location{PhysicalLocation: physical{artifact{(&url.URL{Path: filepath.ToSlash(file)}).String()}}}
		message := f.Message
		if f.Node != "" {
			at.LogicalLocations = []logical{{FullyQualifiedName: f.Node, Kind: "element"}}
			message = f.Operator + " \"" + f.Node + "\": " + message
		}
		results = append(results, result{RuleID: f.Rule, RuleIndex: index[f.Rule], Level: f.Level, Message: text{message}, Locations: []location{at}})
	}
	return json.MarshalIndent(struct {
		Schema  string `json:"$schema"`
		Version string `json:"version"`
		Runs    []run  `json:"runs"`
	}{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []run{{tool{d}, results}}}, "", "  ")
}
