package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// manifests are the objects of contrib/kubernetes.
type manifests struct {
	config     corev1.ConfigMap
	services   []corev1.Service
	set        appsv1.StatefulSet
	disruption policyv1.PodDisruptionBudget
	network    networkingv1.NetworkPolicy
}

// readManifests reads all objects that kustomization.yaml lists. Fields that Kubernetes does not know fail the test.
func readManifests(t *testing.T) (m manifests) {
	t.Helper()
	dir := filepath.Join(root, "contrib", "kubernetes")
	read := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	var list struct {
		metav1.TypeMeta `json:",inline"`
		Resources       []string `json:"resources"`
		Images          []struct {
			Name    string `json:"name"`
			NewName string `json:"newName"`
			NewTag  string `json:"newTag"`
		} `json:"images"`
	}
	strict(t, read("kustomization.yaml"), &list)
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) != len(list.Resources)+1 {
		t.Errorf("kustomization.yaml lists %q of %q: %v", list.Resources, files, err)
	}
	for _, name := range list.Resources {
		for _, text := range bytes.Split(read(name), []byte("\n---\n")) {
			var kind metav1.TypeMeta
			if err := yaml.Unmarshal(text, &kind); err != nil {
				t.Fatal(err)
			}
			switch kind.APIVersion + " " + kind.Kind {
			case "v1 ConfigMap":
				strict(t, text, &m.config)
			case "v1 Service":
				var s corev1.Service
				strict(t, text, &s)
				m.services = append(m.services, s)
			case "apps/v1 StatefulSet":
				strict(t, text, &m.set)
			case "policy/v1 PodDisruptionBudget":
				strict(t, text, &m.disruption)
			case "networking.k8s.io/v1 NetworkPolicy":
				strict(t, text, &m.network)
			default:
				t.Errorf("%s has %s %s", name, kind.APIVersion, kind.Kind)
			}
		}
	}
	if len(list.Images) != 1 || list.Images[0].Name != m.set.Spec.Template.Spec.Containers[0].Image {
		t.Errorf("images are %+v", list.Images)
	}
	return m
}

func strict(t *testing.T, text []byte, object any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(text, object); err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
}

// TestKubernetes: the manifests fit together, and run imctl without privileges.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	m := readManifests(t)
	pod := m.set.Spec.Template
	labels := pod.Labels
	c := pod.Spec.Containers[0]
	has := func(what string, ok bool) {
		t.Helper()
		if !ok {
			t.Errorf("%s is wrong", what)
		}
	}
	matches := func(selector map[string]string) bool {
		for k, v := range selector {
			if labels[k] != v {
				return false
			}
		}
		return len(selector) > 0
	}
	has("selector of the StatefulSet", matches(m.set.Spec.Selector.MatchLabels))
	has("selector of the budget", matches(m.disruption.Spec.Selector.MatchLabels) && m.disruption.Spec.MaxUnavailable.IntValue() == 1)
	has("selector of the network policy", matches(m.network.Spec.PodSelector.MatchLabels))
	affinity := pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	has("anti-affinity", len(affinity) == 1 && matches(affinity[0].LabelSelector.MatchLabels))
	has("number of nodes", *m.set.Spec.Replicas == 3)
	has("user", *pod.Spec.SecurityContext.RunAsUser == imageUser && *pod.Spec.SecurityContext.RunAsNonRoot)
	has("privileges", !*c.SecurityContext.AllowPrivilegeEscalation && *c.SecurityContext.ReadOnlyRootFilesystem &&
		slices.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}))
	has("service links", pod.Spec.EnableServiceLinks != nil && !*pod.Spec.EnableServiceLinks)
	has("resources", !c.Resources.Requests.Memory().IsZero() && !c.Resources.Limits.Memory().IsZero())
	has("volume claim", m.set.Spec.VolumeClaimTemplates[0].Name == c.VolumeMounts[0].Name && c.VolumeMounts[0].MountPath == imageData)

	ports := make(map[string]bool)
	for _, p := range c.Ports {
		ports[p.Name] = true
	}
	headless := false
	for _, s := range m.services {
		has("selector of service "+s.Name, matches(s.Spec.Selector))
		for _, p := range s.Spec.Ports {
			has("port of service "+s.Name, ports[p.TargetPort.StrVal])
		}
		if s.Name == m.set.Spec.ServiceName {
			headless = s.Spec.ClusterIP == corev1.ClusterIPNone && s.Spec.PublishNotReadyAddresses
		}
	}
	has("headless service", headless)
	for name, p := range map[string]*corev1.Probe{"liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
		has(name, ports[p.HTTPGet.Port.StrVal])
	}
	has("startup probe", slices.Equal(c.StartupProbe.Exec.Command, []string{"/usr/bin/imctl", "health"}))
	for _, rule := range m.network.Spec.Ingress {
		for _, p := range rule.Ports {
			has("port of the network policy", ports[p.Port.StrVal])
		}
	}
}

// TestKubernetesSettings: imctl accepts the configuration of each node, and takes nothing else from the image.
func TestKubernetesSettings(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "imctl")
	if err := os.WriteFile(program, releasedProgram(t), 0o755); err != nil {
		t.Fatal(err)
	}
	m := readManifests(t)
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(m.config.Data["config.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := (&release{source: testSource("v1.0.0")}).imageConfig(platformOf(host())).Config.Env
	for _, e := range m.set.Spec.Template.Spec.Containers[0].Env {
		value := e.Value
		switch e.Name {
		case "IMCTL_NATS_CLUSTER_NODE":
			value = "imctl-1"
		case "IMCTL_NATS_CLUSTER_SECRET":
			value = "0123456789012345678901234567890123456789"
		}
		environ = append(environ, e.Name+"="+value)
	}
	out, err := command(t.Context(), t.TempDir(), environ, program, "check", "--config", file, "--show")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"data +/var/lib/imctl/data ", "listen +0.0.0.0:8080 ", "ops.listen +0.0.0.0:8081 ", "nats.cluster.node +imctl-1 ",
		"nats.cluster.name +imctl "} {
		if !regexp.MustCompile("(?m)^" + line).Match(out) {
			t.Errorf("no line %q in\n%s", line, out)
		}
	}
}
