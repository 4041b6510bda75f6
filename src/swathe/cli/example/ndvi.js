//VERSION=3
// NDVI of clear land: what plants are there, from the red and the near infrared.
function setup() {
  return {
    input: [{bands: ["red", "nir", "fmask", "dataMask"]}],
    output: [
      {id: "ndvi", bands: ["NDVI"], sampleType: "FLOAT32"},
      {id: "dataMask", bands: 1}
    ]
  }
}

// fmask: 0 clear land, 1 water, 2 shadow, 3 snow, 4 cloud. What dataMask makes 0 is counted as no data.
function evaluatePixel(sample) {
  const clear = sample.fmask === 0 && sample.nir + sample.red > 0
  return {
    ndvi: [index(sample.nir, sample.red)],
    dataMask: [sample.dataMask && clear]
  }
}
