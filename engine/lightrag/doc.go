// Package lightrag reads the working folders of LightRAG (HKUDS/LightRAG, its file
// stores: JSON key-value files, NanoVectorDB, GraphML) and brings them into a
// knowledge base.
//
// OpenFolder finds the workspaces of a folder, through os.Root and for reading only;
// Folder.Read reads one (json.go, records.go, vectors.go, graphml.go); Workspace.Plan
// makes documents of it (plan.go: texts and spans, said.go: what each chunk says);
// Verify compares what a knowledge base then holds with the graph (verify.go). Nothing
// here asks a model. What is read is hostile until it is understood: every record,
// file and list has a bound, and a Fault names the file and the byte or line.
package lightrag
