#!/bin/sh
# Makes our namespace, or brings the one that is there to the present retention. Safe to repeat.
# Histories are kept a day longer than pipelines, so that every pipeline we list has its history.
# TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and RETENTION_DAYS come from the environment.
set -eu

retention="$((RETENTION_DAYS + 1))d"

until temporal operator cluster health >/dev/null 2>&1; do
    echo "waiting for Temporal at $TEMPORAL_ADDRESS"
    sleep 1
done

if temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; then
    temporal operator namespace update --namespace "$TEMPORAL_NAMESPACE" --retention "$retention"
else
    temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$retention"
fi

# The server's own view of its namespaces lags some seconds behind.
until temporal workflow count --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; do
    echo "waiting for the namespace $TEMPORAL_NAMESPACE"
    sleep 1
done
