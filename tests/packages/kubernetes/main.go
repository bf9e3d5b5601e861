// Decodes each document of the given files strictly, as the published type that its apiVersion and kind name: an
// unknown field, a wrong type or a kind that we do not know is an error.  What the types cannot say is looked at too:
// selectors match labels, ports and volumes that are named exist, the grace period is above the drain's deadline.
package main

import (
	"bytes"
	"fmt"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const drainSeconds = 25

var known = map[string]func() any{
	"v1 Service":                    func() any { return &corev1.Service{} },
	"v1 Pod":                        func() any { return &corev1.Pod{} },
	"apps/v1 Deployment":            func() any { return &appsv1.Deployment{} },
	"apps/v1 StatefulSet":           func() any { return &appsv1.StatefulSet{} },
	"policy/v1 PodDisruptionBudget": func() any { return &policyv1.PodDisruptionBudget{} },
}

func probePorts(probe *corev1.Probe, ports map[string]bool) error {
	if probe != nil && probe.HTTPGet != nil && !ports[probe.HTTPGet.Port.String()] {
		return fmt.Errorf("a probe asks the port %s, which is not there", probe.HTTPGet.Port.String())
	}
	return nil
}

func container(c corev1.Container, volumes map[string]bool) error {
	ports := map[string]bool{}
	for _, port := range c.Ports {
		ports[port.Name] = true
	}
	for _, mount := range c.VolumeMounts {
		if !volumes[mount.Name] {
			return fmt.Errorf("container %s mounts %s, which is not there", c.Name, mount.Name)
		}
	}
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if err := probePorts(probe, ports); err != nil {
			return fmt.Errorf("container %s: %w", c.Name, err)
		}
	}
	return nil
}

func pod(spec corev1.PodSpec, claims []corev1.PersistentVolumeClaim) error {
	volumes := map[string]bool{}
	for _, volume := range spec.Volumes {
		volumes[volume.Name] = true
	}
	for _, claim := range claims {
		volumes[claim.Name] = true
	}
	if spec.TerminationGracePeriodSeconds == nil || *spec.TerminationGracePeriodSeconds <= drainSeconds {
		return fmt.Errorf("the grace period is not above the drain's %d s", drainSeconds)
	}
	for _, c := range append(append([]corev1.Container{}, spec.InitContainers...), spec.Containers...) {
		if err := container(c, volumes); err != nil {
			return err
		}
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		if sidecar && c.ReadinessProbe != nil {
			return fmt.Errorf("sidecar %s has a readinessProbe: unready it takes the gateway out of service", c.Name)
		}
	}
	return nil
}

func matches(selector, labels map[string]string) error {
	for name, value := range selector {
		if labels[name] != value {
			return fmt.Errorf("the selector wants %s=%s, the pods have %q", name, value, labels[name])
		}
	}
	return nil
}

func meaning(object any) error {
	switch it := object.(type) {
	case *corev1.Pod:
		return pod(it.Spec, nil)
	case *appsv1.Deployment:
		if err := matches(it.Spec.Selector.MatchLabels, it.Spec.Template.Labels); err != nil {
			return err
		}
		return pod(it.Spec.Template.Spec, nil)
	case *appsv1.StatefulSet:
		if err := matches(it.Spec.Selector.MatchLabels, it.Spec.Template.Labels); err != nil {
			return err
		}
		return pod(it.Spec.Template.Spec, it.Spec.VolumeClaimTemplates)
	}
	return nil
}

func document(text []byte) (string, error) {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(text, &head); err != nil {
		return "", err
	}
	name := head.APIVersion + " " + head.Kind
	made, ok := known[name]
	if !ok {
		return name, fmt.Errorf("%q is none of the kinds that we use", name)
	}
	object := made()
	if err := yaml.UnmarshalStrict(text, object); err != nil {
		return name, err
	}
	return name, meaning(object)
}

func main() {
	failed := false
	for _, path := range os.Args[1:] {
		text, err := os.ReadFile(path)
		if err != nil {
			fmt.Println(err)
			failed = true
			continue
		}
		for n, part := range bytes.Split(text, []byte("\n---\n")) {
			name, err := document(part)
			if err != nil {
				fmt.Printf("%s, document %d (%s): %v\n", path, n+1, name, err)
				failed = true
			} else {
				fmt.Printf("%s: %s\n", path, name)
			}
		}
	}
	if failed {
		os.Exit(1)
	}
}
