// Requests to the server that this page is from; there are no others.

export class Refused extends Error {}

async function answered(response) {
  if (response.ok) return response;
  let said = `The server answered with ${response.status}.`;
  try {
    said = (await response.json()).error ?? said;
  } catch { /* it was no JSON */ }
  throw new Refused(said);
}

export async function get(path) {
  return (await answered(await fetch(path))).json();
}

async function post(path, value) {
  const headers = { "Content-Type": "application/json" };
  return answered(await fetch(path, { method: "POST", headers, body: JSON.stringify(value) }));
}

export async function ask(run, question) {
  return (await post(`/api/runs/${run}/questions`, question)).json();
}

/** Let the browser save a question as a file, "vocabulary" or "examples". */
export async function save(run, kind, question, name) {
  const content = await (await post(`/api/runs/${run}/saved/${kind}`, question)).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
